"""Where a model lies and whether its files are what they claim: names, hashes, dtypes, safetensors.

Knows no text and no batch.
"""
