"""Labeled examples from prepared dates: labels, splits, checks for leaks, the export that training reads.

Knows no model.
"""
