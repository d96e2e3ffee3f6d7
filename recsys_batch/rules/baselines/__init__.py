"""Simple recommenders that the night's lists are held against: NumPy and SciPy on one machine.

Knows who acted on which item, and when. Knows nothing of titles, Spark or the lake.
"""
