"""The event's road, in reading order: rows, classify, accounts, interactions, histories.

Knows the catalog by its ids alone.
"""
