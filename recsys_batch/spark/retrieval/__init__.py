"""What a night looks things up in: embeddings, co-visitation, and the profiles of everyone who gets a list.

Knows no torch and no scores.
"""
