"""Negatives: mined ones against brute force, what is filtered, how often each kind is drawn."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys_batch.contracts.config.tasks import NegativeSettings
from recsys_batch.training.examples.negatives import Negatives, Pairs, mine_hard_negatives


def unit(rows: int, seed: int, width: int = 6) -> torch.Tensor:
    return torch.nn.functional.normalize(torch.randn(rows, width, generator=torch.Generator().manual_seed(seed)), dim=1)


def pairs_of(table: list[tuple[int, int]]) -> Pairs:
    table_P2 = np.array(table, dtype=np.int64).reshape(-1, 2)
    return Pairs(table_P2[:, 0], table_P2[:, 1])


def brute_force(queries_QD, documents_ID, pairs, settings) -> list[list[int]]:
    right = {q: {d for p, d in zip(pairs.query_P, pairs.document_P, strict=True) if p == q} for q in pairs.query_P}
    found = []
    for query, document in zip(pairs.query_P, pairs.document_P, strict=True):
        scores_I = (documents_ID @ queries_QD[query]).numpy()
        own = float(scores_I[document])
        order = [i for i in np.argsort(-scores_I, kind="stable") if i not in right[query]][: settings.depth]
        ceiling = min(own - settings.margin, own * settings.max_share if own > 0 else np.inf)
        found.append([i for i in order[settings.skip :] if scores_I[i] <= ceiling][: settings.keep])
    return found


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    depth=st.integers(1, 12),
    keep=st.integers(1, 5),
    skip=st.integers(0, 3),
    max_share=st.sampled_from([0.5, 0.95, 1.0]),
    margin=st.sampled_from([0.0, 0.2]),
)
def test_mined_negatives_are_those_of_brute_force(seed, depth, keep, skip, max_share, margin) -> None:
    rng = np.random.default_rng(seed)
    pairs = pairs_of([(int(rng.integers(4)), int(rng.integers(15))) for _ in range(6)])
    queries_QD, documents_ID = unit(4, seed), unit(15, seed + 1)
    wanted = NegativeSettings(depth=depth, keep=keep, skip=skip, max_share=max_share, margin=margin)
    right = pairs.documents_of_queries(4)
    mined_PK = mine_hard_negatives(queries_QD, documents_ID, pairs, right, wanted)
    assert mined_PK.shape == (6, keep)
    assert [[i for i in row if i >= 0] for row in mined_PK.tolist()] == brute_force(
        queries_QD, documents_ID, pairs, wanted
    )


def test_probably_right_documents_are_filtered() -> None:
    queries_QD = torch.tensor([[1.0, 0.0]])
    cosines = torch.tensor([0.8, 0.79, 0.75, 0.6])  # the pair's own, 0.99, 0.94 and 0.75 of it
    documents_ID = torch.stack([cosines, (1 - cosines**2).sqrt()], dim=1)
    pairs = pairs_of([(0, 0)])

    def mined(**options: float) -> list[int]:
        wanted = NegativeSettings(keep=3, **options)
        return mine_hard_negatives(queries_QD, documents_ID, pairs, pairs.documents_of_queries(1), wanted)[0].tolist()

    assert mined(max_share=1.0) == [1, 2, 3]
    assert mined() == [2, 3, -1]
    assert mined(max_share=1.0, margin=0.1) == [3, -1, -1]
    assert mined(max_share=1.0, skip=1) == [2, 3, -1]


def test_right_documents_of_other_pairs_are_never_mined() -> None:
    pairs = pairs_of([(0, 3), (0, 1), (1, 2)])
    right = pairs.documents_of_queries(2, also=pairs_of([(1, 0)]))
    assert right.indptr.tolist() == [0, 2, 4]
    assert right.item_indices.tolist() == [1, 3, 0, 2]
    wanted = NegativeSettings(depth=5, keep=5, max_share=1.0)
    mined_PK = mine_hard_negatives(unit(2, 0), unit(5, 1), pairs, right, wanted)
    assert not set(mined_PK[0].tolist()) & {1, 3}
    assert not set(mined_PK[2].tolist()) & {0, 2}


def test_popular_documents_are_drawn_by_their_popularity() -> None:
    popularity_I = np.array([0.0, 1.0, 16.0, 81.0])
    wanted = NegativeSettings(hard=0, popular=1, popularity_power=0.5)
    negatives = Negatives(wanted, pairs_of([(0, 0)]), 4, popularity_I)
    rng = np.random.default_rng(0)
    counts = np.bincount([int(negatives.draw(0, rng)[0]) for _ in range(4000)], minlength=4)
    shares = np.array([0, 1, 4, 9]) / 14
    # Three standard deviations of a share of 4,000 draws are below 0.024.
    assert np.abs(counts / 4000 - shares).max() < 0.025
    assert counts[0] == 0


def test_shown_and_random_documents() -> None:
    shown = {0: np.array([5, 6, 7]), 1: np.array([8])}
    negatives = Negatives(NegativeSettings(hard=0, shown=2), pairs_of([(0, 0), (1, 1), (2, 2)]), 10, shown=shown)
    rng = np.random.default_rng(0)
    drawn = {tuple(negatives.draw(0, rng).tolist()) for _ in range(60)}
    assert drawn == {(5, 6), (5, 7), (6, 7)}
    assert negatives.draw(1, rng).tolist() == [8]
    assert negatives.draw(2, rng).tolist() == []
    random = Negatives(NegativeSettings(hard=0, random=3), pairs_of([(0, 0)]), 10)
    assert {int(i) for _ in range(100) for i in random.draw(0, rng)} == set(range(10))


def test_mining_is_renewed() -> None:
    pairs = pairs_of([(0, 0)])
    negatives = Negatives(NegativeSettings(hard=1, keep=1, depth=1, max_share=1.0), pairs, 3)
    right = pairs.documents_of_queries(1)
    with pytest.raises(ValueError, match="before any were mined"):
        negatives.draw(0, np.random.default_rng(0))
    query = torch.tensor([[1.0, 0.0]])
    for nearest, documents in ((1, [[1.0, 0], [0.9, 0.1], [0, 1]]), (2, [[1.0, 0], [0, 1], [0.9, 0.1]])):
        negatives.mine(query, torch.tensor(documents), right)
        assert negatives.draw(0, np.random.default_rng(0)).tolist() == [nearest]


def test_refusals() -> None:
    pairs = pairs_of([(0, 0)])
    with pytest.raises(ValueError, match="popularity"):
        Negatives(NegativeSettings(popular=1), pairs, 3)
    with pytest.raises(ValueError, match="shown"):
        Negatives(NegativeSettings(shown=1), pairs, 3)
    with pytest.raises(ValueError, match="must not be negative"):
        Negatives(NegativeSettings(popular=1), pairs, 2, np.array([1.0, -1.0]))
    with pytest.raises(ValueError, match="negative index"):
        pairs_of([(0, -1)])
    with pytest.raises(ValueError, match="pairs of"):
        Pairs(np.zeros(2, dtype=np.int64), np.zeros(3, dtype=np.int64))
