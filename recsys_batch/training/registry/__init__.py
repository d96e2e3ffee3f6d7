"""Versions of models, immutable and fingerprinted; who is champion; which one a job uses.

Knows no training.
"""
