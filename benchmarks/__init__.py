"""Comparisons with the libraries that people would use otherwise; each prints one JSON line a comparison."""
