"""Texts changed a little, so that a model learns what does not matter; every change is a function of a generator."""
