"""What a shop learns between nights: datasets, training, search, labeling, each joining Spark with training.

Knows nothing of the night's stages.
"""
