"""The stages of the night, each joining Spark transforms with worker tasks; `recsys_batch.pipeline` runs them."""
