"""The same networks with gradients: heads, losses, language models.

Knows no data set and no training loop.
"""
