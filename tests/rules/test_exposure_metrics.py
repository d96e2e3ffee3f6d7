"""Gini and top share by arithmetic and against the definitions over all items; list distances against all pairs."""

from itertools import combinations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys_batch.rules.metrics.diversity import mean_cosine_distances
from recsys_batch.rules.metrics.exposure import gini, top_share


def levels(times: list[int]) -> tuple[np.ndarray, np.ndarray]:
    found, counts = np.unique(times, return_counts=True)
    return found.astype(float), counts.astype(float)


def test_by_arithmetic() -> None:
    assert gini(*levels([2, 2, 2])) == 0
    # One of four items has everything: (4 - 1) / 4.
    assert gini(*levels([0, 0, 0, 8])) == pytest.approx(3 / 4)
    assert top_share(*levels([5, 3, 1, 1]), 2) == pytest.approx(8 / 10)
    assert top_share(*levels([1, 1, 1, 1]), 3) == pytest.approx(3 / 4)
    assert top_share(*levels([4, 1]), 9) == 1
    assert np.isnan(gini(*levels([0, 0])))
    assert np.isnan(top_share(*levels([0]), 1))
    with pytest.raises(ValueError, match="num_top must be 1 or more, not 0"):
        top_share(*levels([1]), 0)


@settings(derandomize=True, max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 6), min_size=1, max_size=12).filter(sum), st.integers(1, 14))
def test_levels_say_what_the_items_say(times: list[int], num_top: int) -> None:
    differences = [abs(a - b) for a in times for b in times]
    assert gini(*levels(times)) == pytest.approx(np.mean(differences) / (2 * np.mean(times)))
    assert top_share(*levels(times), num_top) == pytest.approx(sum(sorted(times)[::-1][:num_top]) / sum(times))


def test_distances_are_means_over_pairs() -> None:
    rng = np.random.default_rng(4)
    lists = [rng.standard_normal((size, 3)) for size in (4, 1, 0, 2)]
    lists[0][1] = 0
    places = pa.array([[1, 2, 3, 5], [1], [], [2, 3]], pa.list_(pa.int32()))
    vectors = pa.array([rows.tolist() for rows in lists], pa.list_(pa.list_(pa.float64())))
    # A slice of a batch has offsets that do not start at 0.
    for start in (0, 1):
        found = mean_cosine_distances(places[start:], vectors[start:], (3, 9)).to_pylist()
        assert found == [pytest.approx([expected(n, k, lists, places) for k in (3, 9)]) for n in range(start, 4)]


def expected(n: int, k: int, lists: list[np.ndarray], places: pa.Array) -> float:
    kept = [row for row, place in zip(lists[n], places[n].as_py(), strict=True) if place <= k and row.any()]
    distances = [1 - a @ b / np.linalg.norm(a) / np.linalg.norm(b) for a, b in combinations(kept, 2)]
    return float(np.mean(distances)) if distances else 0.0


def test_vectors_of_several_lengths_are_refused() -> None:
    vectors = pa.array([[[1.0], [1.0, 2.0]]], pa.list_(pa.list_(pa.float64())))
    with pytest.raises(ValueError, match="lengths from 1 to 2"):
        mean_cosine_distances(pa.array([[1, 2]], pa.list_(pa.int32())), vectors, (2,))
