"""Curves and parameters of runs, in files or in the services that a shop has.

Knows no task.
"""
