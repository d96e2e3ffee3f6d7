"""What everything in the lake rests on: tables, slices, run records, ids and files.

Knows no input, list or model.
"""
