"""Metrics of recommendation lists over whole frames: one value a key, or one number over all keys.

Knows no model and no lake: it gets lists, targets, histories and item tables as frames.
"""
