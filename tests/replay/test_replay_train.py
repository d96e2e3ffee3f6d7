"""How a ranker is measured: against sums by hand, whatever was not proposed counts as not found."""

import math

import numpy as np
import pytest

from recsys_batch.contracts.config.load import load_config
from recsys_batch.replay.examples import Examples
from recsys_batch.replay.train import _blended, _name_cases, _ndcg
from tests.contracts.test_load_config import MINIMAL

NAMES = ("content", "covisitation", "popularity")


def examples(labels, sizes, num_targets, rows=None) -> Examples:
    rows_NF = np.zeros((len(labels), len(NAMES)), dtype=np.float32) if rows is None else np.float32(rows)
    keys = [f"u{place}" for place in range(len(sizes))]
    return Examples(NAMES, keys, rows_NF, np.float32(labels), np.array(sizes), np.array(num_targets))


def test_ndcg_is_the_gain_of_what_was_found_over_that_of_all_that_was_wanted() -> None:
    # First profile: wanted items at the places 2 and 3 of 3, one more was not proposed. Second: none of one proposed.
    made = _ndcg(examples([1, 0, 1, 0, 0], [3, 2], [3, 1]), np.array([0.5, 0.9, 0.4, 0.2, 0.1]), length=20)
    ideal = 1 + 1 / math.log2(3) + 1 / math.log2(4)
    assert made.tolist() == pytest.approx([(1 / math.log2(3) + 1 / math.log2(4)) / ideal, 0.0])


def test_ndcg_looks_at_the_length_of_the_lists_alone() -> None:
    made = _ndcg(examples([0, 0, 1, 1], [4], [5]), np.array([4.0, 3.0, 2.0, 1.0]), length=3)
    assert made.tolist() == pytest.approx([(1 / math.log2(4)) / (1 + 1 / math.log2(3) + 1 / math.log2(4))])


def test_of_equal_scores_the_first_candidate_counts_and_an_empty_profile_has_found_nothing() -> None:
    made = _ndcg(examples([0, 1, 1], [0, 3], [2, 2]), np.zeros(3), length=1)
    assert made.tolist() == [0.0, 0.0]


def test_the_blend_scores_each_profile_by_itself(tmp_path) -> None:
    path = tmp_path / "shop.yaml"
    path.write_text(MINIMAL)
    weights = {"content": 2.0, "covisitation": 1.0, "popularity": 0.5}
    overrides = [f"retrieve.{name}.weight={weight}" for name, weight in weights.items()]
    overrides += ["retrieve.content.calibration=none", "retrieve.popularity.calibration=none"]
    config = load_config(path, overrides, env={})
    rows = [[0.1, 4.0, 1.0], [0.2, 2.0, 0.0], [0.3, 1.0, 2.0]]
    made = _blended(examples([0, 0, 0], [2, 1], [1, 1], rows), config)
    # Co-visitation is divided by the largest of the profile: 4 in the first, 1 in the second.
    assert made.tolist() == pytest.approx([0.2 + 1.0 + 0.5, 0.4 + 0.5, 0.6 + 1.0 + 1.0])


def test_cases_do_not_name_users_and_differ_by_date_and_kind() -> None:
    from datetime import date

    made = examples([1], [1], [1])
    cases = [_name_cases(date(2026, 6, day), kind, made.keys) for day in (1, 2) for kind in ("user", "request")]
    assert len({name for case in cases for name in case}) == 4
    assert not any("u0" in name for case in cases for name in case)
