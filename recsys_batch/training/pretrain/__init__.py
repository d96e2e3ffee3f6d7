"""Learning a language from the shop's own texts: corpus, tokenizer, masking, language tasks.

Knows no labels.
"""
