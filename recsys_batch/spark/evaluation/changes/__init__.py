"""Two releases or candidate runs side by side: what moved in their list tables, for whom, and why.

Both sides are counted where they lie; what reaches the driver is figures, and the lists of a few keys that are shown.
"""
