"""What operators run beside the night: maintenance of the lake, and the doctor.

Knows nothing of how a night computes its lists.
"""
