"""recsys-batch: distributed batch scoring for shops, from behavior logs to published top-N tables."""

__version__ = "0.1.0"
