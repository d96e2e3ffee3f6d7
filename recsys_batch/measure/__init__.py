"""How good the lists are on this shop: nights held out and measured beside tuned baselines.

Knows the night as a whole and what it leaves in a lake. No stage knows of it.
"""
