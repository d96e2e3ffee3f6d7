"""Spark and Delta: sources, preparation, staging, gates, publication. Never imports torch; knows no worker task."""
