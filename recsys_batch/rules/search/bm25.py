"""BM25 over several fields of an item: BM25F (Robertson, Zaragoza and Taylor, 2004), as a sparse matrix.

A word's counts in the fields, each held back by the field's length and weighed, are added before they saturate: a word
that title and description repeat says little more than once. With one field it is Lucene's BM25.

Shapes: I items, T terms.
"""

from collections.abc import Sequence

import numpy as np
import scipy.sparse as sp


def bm25f(counts: Sequence[sp.csr_array], weights: Sequence[float], k1: float, b: float) -> sp.csr_array:
    """Return the score (T, I), float32, of every item that holds a term, from each field's counts (I, T).

    The mean length of a field is that of the items that have it. A term's idf is log(1 + (I - n + 0.5) / (n + 0.5)),
    with n the items that hold it in any field.
    """
    weighed = None
    for counts_IT, weight in zip(counts, weights, strict=True):
        lengths_I = np.asarray(counts_IT.sum(axis=1), dtype=np.float64).ravel()
        mean = lengths_I[lengths_I > 0].mean() if lengths_I.any() else 1.0
        held_I = weight / (1 - b + b * lengths_I / mean) if b < 1 else weight / np.maximum(lengths_I / mean, 1e-12)
        field_IT = counts_IT.astype(np.float64)
        field_IT.data = field_IT.data * np.repeat(held_I, np.diff(field_IT.indptr))
        weighed = field_IT if weighed is None else weighed + field_IT
    if weighed is None:
        raise ValueError("there must be a field")
    scores_TI = sp.csr_array(weighed.T)
    scores_TI.eliminate_zeros()
    scores_TI.sort_indices()
    holders_T = np.diff(scores_TI.indptr)
    idf_T = np.log1p((scores_TI.shape[1] - holders_T + 0.5) / (holders_T + 0.5))
    scores_TI.data = scores_TI.data / (scores_TI.data + k1) * np.repeat(idf_T, holders_T)
    return scores_TI.astype(np.float32)
