"""The item's road: what the catalog says, completed, without twins, with its history and reviews.

Knows nothing of events.
"""
