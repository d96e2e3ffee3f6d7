"""Transformers that turn token ids into hidden states: ours, OpenVINO, int8.

Knows no text, only padded or packed ids.
"""
