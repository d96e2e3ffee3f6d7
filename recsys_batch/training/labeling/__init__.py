"""What people should label next, and what a model may label itself.

Knows no Spark; rows come and go as files.
"""
