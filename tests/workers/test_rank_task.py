"""Ranking: blended scores by arithmetic, one order, and the source that gave most of each score."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from recsys_batch.contracts.config.night import Content, Covisitation, Popularity, Retrieve
from recsys_batch.contracts.schemas import CANDIDATES
from recsys_batch.workers.rank import RankCandidates

CONFIG = Retrieve(
    content=Content(weight=0.8, calibration="none"),
    covisitation=Covisitation(weight=1.0, calibration="none"),
    popularity=Popularity(weight=0.1, calibration="none"),
)
QUARTERS = st.integers(-2, 8).map(lambda n: n / 4)
CANDIDATE = st.tuples(st.integers(1, 7), QUARTERS, QUARTERS, QUARTERS)  # proposed, content, co-visitation, popularity
PROFILES = st.lists(st.dictionaries(st.integers(0, 30), CANDIDATE, max_size=6), max_size=5)


def row_of(key: str, candidates: dict[int, tuple[int, float, float, float]]) -> dict[str, Any]:
    proposed, content, covisitation, popularity = zip(*candidates.values(), strict=True) if candidates else ((),) * 4
    return {
        "key": key,
        "history": [1, 2],
        "history_weights": [1.0, 0.5],
        "history_codes": [5, 2],
        "vector": None,
        "items": list(candidates),
        "proposed": proposed,
        "content": content,
        "covisitation": covisitation,
        "popularity": popularity,
    }


def as_table(rows: list[dict[str, Any]]) -> pa.Table:
    return pa.Table.from_pylist(rows, schema=CANDIDATES)


@pytest.fixture(scope="module")
def progress(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tmp_path_factory.mktemp("progress"))


def test_one_profile_by_arithmetic(build: Any, progress: str) -> None:
    candidates = {
        4: (1, 0.5, 0.0, 1.0),  # 0.40 + 0.00 + 0.10: most from content
        7: (2, 0.1, 0.7, 2.0),  # 0.08 + 0.70 + 0.20: most from co-visitation
        9: (5, 0.1, 0.0, 4.0),  # 0.08 + 0.00 + 0.40: most from popularity
    }
    (row,) = build.run_task(RankCandidates(CONFIG, progress), as_table([row_of("u", candidates)])).to_pylist()
    assert row["items"] == [7, 4, 9]
    assert_allclose(row["scores"], [0.08 + 0.7 + 0.2, 0.4 + 0.1, 0.08 + 0.4], rtol=1e-6)
    assert row["main_source"] == [1, 0, 2]
    assert row["proposed"] == [2, 1, 5]
    assert (row["key"], row["history"], row["history_weights"], row["history_codes"]) == (
        "u",
        [1, 2],
        [1.0, 0.5],
        [5, 2],
    )


def test_calibration_is_by_profile(build: Any, progress: str) -> None:
    config = Retrieve(
        content=Content(weight=1.0, calibration="max"),
        covisitation=Covisitation(weight=0.0),
        popularity=Popularity(weight=0.0),
    )
    rows = [row_of("a", {1: (1, 0.2, 0, 0), 2: (1, 0.1, 0, 0)}), row_of("b", {1: (1, 0.8, 0, 0), 2: (1, 0.2, 0, 0)})]
    made = build.run_task(RankCandidates(config, progress), as_table(rows)).to_pylist()
    assert_allclose([row["scores"] for row in made], [[1.0, 0.1 / 0.2], [1.0, 0.2 / 0.8]], rtol=1e-6)


def test_ties_go_to_the_lower_item_and_scores_of_nothing_to_popularity(build: Any, progress: str) -> None:
    candidates = {9: (1, 0.5, 0, 0), 3: (1, 0.5, 0, 0), 8: (4, 0, 0, 0), 5: (1, -0.5, 0, 0)}
    (row,) = build.run_task(RankCandidates(CONFIG, progress), as_table([row_of("u", candidates)])).to_pylist()
    assert row["items"] == [3, 9, 8, 5]
    assert row["main_source"] == [0, 0, 2, 2]


@settings(derandomize=True, max_examples=30, deadline=None)
@given(PROFILES, st.lists(st.integers(0, 5), max_size=3))
def test_ranked_lists_are_the_sorted_candidates_wherever_batches_end(
    build: Any, progress: str, profiles: list[dict[int, tuple[int, float, float, float]]], cuts: list[int]
) -> None:
    rows = [row_of(f"u{place}", candidates) for place, candidates in enumerate(profiles)]
    made = build.run_task(RankCandidates(CONFIG, progress), as_table(rows), cuts).to_pylist()
    assert [row["key"] for row in made] == [row["key"] for row in rows]
    for row, candidates in zip(made, profiles, strict=True):
        blended = {item: 0.8 * c + 1.0 * v + 0.1 * p for item, (_, c, v, p) in candidates.items()}
        # Scores are published as float32, so that is what ties are judged by.
        assert row["items"] == sorted(blended, key=lambda item: (-float(np.float32(round(blended[item], 6))), item))
        assert_allclose(row["scores"], [blended[item] for item in row["items"]], rtol=1e-5, atol=1e-6)
        assert row["scores"] == sorted(row["scores"], reverse=True)
        assert row["proposed"] == [candidates[item][0] for item in row["items"]]


def test_an_empty_partition_yields_nothing(build: Any, tmp_path: Path) -> None:
    assert build.run_task(RankCandidates(CONFIG, str(tmp_path)), as_table([])).num_rows == 0
