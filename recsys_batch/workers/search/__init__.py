"""Search on the executors: the index of the catalog's words, queries read by it, and what they find, rank and say.

Called from retrieval, ranking and reranking; knows none of them.
"""
