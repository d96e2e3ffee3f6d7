"""Searching the settings of training: trials, pruning of trials, the summary.

Knows training as a function of its settings.
"""
