"""From texts to vectors: tokens, batches of even length, pooling, memory ceilings, bad rows set apart.

Knows neither Spark nor Arrow.
"""
