"""Nights of earlier dates, as far as they could be known then, and what a ranker learns from them.

Runs the night's own code; knows nothing of gates and publication.
"""
