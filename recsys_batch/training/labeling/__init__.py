"""What people should label next.

Knows no Spark; rows come and go as files.
"""
