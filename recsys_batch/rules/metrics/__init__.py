"""Metrics of ranked lists, labels and spans, and tests of their differences: pure numbers. Knows no table."""
