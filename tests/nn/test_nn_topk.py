"""Exact top-k against a brute-force sort; vectors hold small integers: scores are exact, ties common."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys_batch.nn.scoring import topk
from recsys_batch.nn.scoring.seen import SeenItems
from recsys_batch.nn.scoring.topk import ItemBlock, exact_topk


def brute_force(queries, items, k, seen=None, eligible=None, bias=None):
    """Scores and indices by sorting everything with (score descending, index ascending)."""
    scores = queries.astype(np.float64) @ items.astype(np.float64).T
    if bias is not None:
        scores += bias
    rows = []
    for query, row in enumerate(scores):
        allowed = [
            i for i in range(len(items)) if (eligible is None or eligible[i]) and not (seen and i in seen[query])
        ]
        best = sorted(allowed, key=lambda i: (-row[i], i))[:k]
        pad = k - len(best)
        rows.append(([float(row[i]) for i in best] + [-np.inf] * pad, best + [-1] * pad))
    return np.array([r[0] for r in rows]).reshape(-1, k), np.array([r[1] for r in rows]).reshape(-1, k)


def split(items, block_size, eligible=None, bias=None, offset=0):
    return [
        ItemBlock(
            offset + start,
            torch.from_numpy(items[start : start + block_size]),
            None if eligible is None else torch.from_numpy(eligible[start : start + block_size]),
            None if bias is None else torch.from_numpy(bias[start : start + block_size]),
        )
        for start in range(0, len(items), block_size)
    ]


def to_csr(seen):
    rows = [sorted(row) for row in seen]
    indptr = np.cumsum([0, *map(len, rows)]).astype(np.int64)
    return SeenItems(indptr, np.array([item for row in rows for item in row], dtype=np.int64))


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_results_equal_brute_force_for_any_blocks_chunks_and_masks(data):
    num_queries, num_items = data.draw(st.integers(0, 9)), data.draw(st.integers(0, 60))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    queries = rng.integers(-2, 3, (num_queries, 3)).astype(np.float32)
    items = rng.integers(-2, 3, (num_items, 3)).astype(np.float32)
    k = data.draw(st.integers(1, 70))
    seen = [set(rng.choice(70, rng.integers(0, 20), replace=False).tolist()) for _ in range(num_queries)]
    eligible = rng.random(num_items) < data.draw(st.sampled_from([0.0, 0.5, 1.0]))
    bias = rng.integers(-2, 3, num_items).astype(np.float32)
    blocks = split(items, data.draw(st.integers(1, 61)), eligible, bias)
    blocks = data.draw(st.permutations(blocks))

    found = exact_topk(
        torch.from_numpy(queries), blocks, k, to_csr(seen), data.draw(st.sampled_from([None, 4, 64, 1024]))
    )

    scores, indices = brute_force(queries, items, k, seen, eligible, bias)
    assert found.scores_QK.dtype == torch.float32
    assert found.indices_QK.dtype == torch.int64
    np.testing.assert_array_equal(found.indices_QK.numpy(), indices)
    np.testing.assert_array_equal(found.scores_QK.numpy(), scores)


@pytest.mark.parametrize("num_threads", [1, 2])
@pytest.mark.parametrize("max_score_bytes", [None, 300_000])
def test_the_sparse_path_equals_a_stable_sort(num_threads, max_score_bytes):
    rng = np.random.default_rng(3)
    queries = rng.integers(-3, 4, (57, 16)).astype(np.float32)
    items = rng.integers(-3, 4, (20_011, 16)).astype(np.float32)
    scores = queries @ items.T
    expected = np.argsort(-scores, axis=1, kind="stable")[:, :25]
    before = torch.get_num_threads()
    torch.set_num_threads(num_threads)
    try:
        found = exact_topk(torch.from_numpy(queries), split(items, 7_777), 25, None, max_score_bytes)
        assert torch.get_num_threads() == num_threads
    finally:
        torch.set_num_threads(before)
    np.testing.assert_array_equal(found.indices_QK.numpy(), expected)
    np.testing.assert_array_equal(found.scores_QK.numpy(), np.take_along_axis(scores, expected, axis=1))


def test_real_valued_scores_are_those_of_the_matrix_product():
    rng = np.random.default_rng(4)
    queries, items = rng.standard_normal((20, 48)), rng.standard_normal((6_000, 48))
    found = exact_topk(torch.from_numpy(queries), split(items, 5_000), 10)
    exact = queries @ items.T
    np.testing.assert_allclose(found.scores_QK.numpy(), -np.sort(-exact, axis=1)[:, :10], rtol=1e-5)


def test_items_that_all_tie_come_in_index_order():
    found = exact_topk(torch.ones(3, 2), split(np.zeros((9_000, 2), np.float32), 1_000), 5)
    assert found.indices_QK.tolist() == [[0, 1, 2, 3, 4]] * 3


def test_minus_zero_ties_with_zero():
    found = exact_topk(torch.tensor([[-1.0]]), [ItemBlock(0, torch.tensor([[0.0], [0.0], [1.0]]))], 3)
    assert found.indices_QK.tolist() == [[0, 1, 2]]
    bias = torch.tensor([-0.0, 0.0, -0.0])
    assert topk._keys_of(bias, torch.tensor([2, 1, 0])).argsort().tolist() == [0, 1, 2]


def test_large_offsets_and_memory_layouts_are_kept():
    items = torch.randint(-3, 4, (4, 30)).float().T
    first = exact_topk(torch.eye(4), [ItemBlock(0, items)], 6)
    far = exact_topk(torch.eye(4).T, [ItemBlock(2**32 - 31, items)], 6)
    assert torch.equal(far.indices_QK, first.indices_QK + 2**32 - 31)
    assert torch.equal(far.scores_QK, first.scores_QK)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf"), 3e38])
def test_vectors_without_a_finite_score_are_refused(bad):
    good, spoiled = torch.ones(3, 2), torch.tensor([[1.0, 1.0], [1.0, bad]])
    for queries, items, bias in ((spoiled, good, None), (good, spoiled, None), (good, good[:2], spoiled[1])):
        if bad == 3e38 and bias is not None:
            continue
        with pytest.raises(ValueError, match=r"not finite|overflow"):
            exact_topk(queries, [ItemBlock(0, items, None, bias)], 1)


def test_wrong_arguments_are_refused():
    block = ItemBlock(0, torch.ones(2, 3))
    for arguments, says in (
        ((torch.ones(1, 3), [block], 0), "k must be"),
        ((torch.ones(1, 4), [block], 1), "3 columns, the queries 4"),
        ((torch.ones(1, 3), [ItemBlock(2**32 - 2, torch.ones(2, 3))], 1), "must lie in"),
        ((torch.ones(1, 3), [ItemBlock(-1, torch.ones(2, 3))], 1), "must lie in"),
        ((torch.ones(1, 3), [block], 1, to_csr([[], []])), "2 queries, not 1"),
    ):
        with pytest.raises(ValueError, match=says):
            exact_topk(*arguments)


@pytest.mark.parametrize(
    ("indptr", "items", "says"),
    [
        ([0, 2], [1], "ascend from 0"),
        ([1, 1], [1], "ascend from 0"),
        ([0, 2, 1, 2], [1, 2], "ascend from 0"),
        ([0, 1, 3], [9, 5, 4], "query 1 are not sorted"),
        ([0, 1], [-1], "negative"),
    ],
)
def test_seen_items_that_are_no_sorted_csr_are_refused(indptr, items, says):
    with pytest.raises(ValueError, match=says):
        SeenItems(np.array(indptr), np.array(items, dtype=np.int64))
