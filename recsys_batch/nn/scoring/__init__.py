"""From vectors to ranked items: exact top-k, masks of seen items, rankers, sequence models.

Knows no text.
"""
