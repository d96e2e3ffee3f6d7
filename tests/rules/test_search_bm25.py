"""BM25 over fields: sums worked out by hand, and bm25s where there is one field."""

from math import log

import bm25s
import numpy as np
import pytest
import scipy.sparse as sp
from numpy.testing import assert_allclose

from recsys_batch.rules.search.bm25 import bm25f


def test_one_field_is_what_bm25s_calls_lucene() -> None:
    rng = np.random.default_rng(4)
    texts = [[f"w{word}" for word in rng.zipf(1.6, size=rng.integers(1, 12)) if word < 30] or ["w1"] for _ in range(60)]
    names = sorted({word for text in texts for word in text})
    counts_IT = sp.csr_array([[text.count(name) for name in names] for text in texts])
    ours = bm25f([counts_IT], [1.0], k1=0.7, b=0.4)
    peer = bm25s.BM25(k1=0.7, b=0.4, method="lucene")
    peer.index(texts, show_progress=False)
    for place, name in enumerate(names):
        assert_allclose(ours[[place]].toarray()[0], peer.get_scores([name]), rtol=1e-5, err_msg=name)


def test_counts_of_the_fields_are_added_before_they_saturate() -> None:
    # Two items, two terms. Title: item 0 has both terms, item 1 the second twice; body: item 0 has the first.
    title, body = sp.csr_array([[1, 1], [0, 2]]), sp.csr_array([[1, 0], [0, 0]])
    made = bm25f([title, body], [1.0, 0.5], k1=0.5, b=0.0).toarray()
    first, second = log(1 + (2 - 1 + 0.5) / 1.5), log(1 + (2 - 2 + 0.5) / 2.5)
    assert_allclose(
        made,
        [[first * 1.5 / (1.5 + 0.5), 0.0], [second * 1 / (1 + 0.5), second * 2 / (2 + 0.5)]],
        rtol=1e-6,
    )


def test_a_field_is_held_back_by_its_own_length_against_the_mean_of_those_that_have_it() -> None:
    # Lengths 1 and 3: their mean is 2; the third item has no such field and counts in no mean.
    field = sp.csr_array([[1, 0], [1, 2], [0, 0]])
    made = bm25f([field], [1.0], k1=1.0, b=0.5).toarray()
    idf = log(1 + (3 - 2 + 0.5) / 2.5)
    short, long = 1 / (1 - 0.5 + 0.5 * 1 / 2), 1 / (1 - 0.5 + 0.5 * 3 / 2)
    assert_allclose(made[0], [idf * short / (short + 1), idf * long / (long + 1), 0.0], rtol=1e-6)


@pytest.mark.parametrize("b", [0.0, 0.6, 1.0])
def test_empty_fields_and_items_are_no_trouble(b: float) -> None:
    nothing = sp.csr_array((3, 2), dtype=np.float32)
    one = sp.csr_array([[0, 1], [0, 0], [0, 1]])
    made = bm25f([nothing, one], [1.0, 0.5], k1=0.3, b=b)
    assert made.shape == (2, 3)
    assert np.isfinite(made.data).all()
    assert made.nnz == 2
