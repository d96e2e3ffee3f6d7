"""Torch models and exact scoring in one process: arrays in, arrays out.

Nothing here knows Spark, tables or dates. Importing the package imports no torch; its modules do.
"""
