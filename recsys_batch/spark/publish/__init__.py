"""From staged rows to a release: gates, the publication itself, and reading what was published.

Knows nothing of how the rows were made.
"""
