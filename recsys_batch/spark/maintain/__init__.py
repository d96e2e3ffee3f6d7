"""What keeps a lake small: which nights are retained, which runs go, which files are merged.

Knows nothing of what the tables say.
"""
