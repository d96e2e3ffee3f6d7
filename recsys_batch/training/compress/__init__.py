"""A smaller encoder from a larger one: pruning, distillation, int8, and what it costs.

Knows no labels but those it is measured by.
"""
