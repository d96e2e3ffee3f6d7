"""Metrics of lists against other libraries (benchmarks/metric_peers.py wrote what they say) and against arithmetic."""

import json
from collections.abc import Sequence
from math import log, log2
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest

from recsys_batch.spark.evaluation.accuracy import AccuracyMetric, measure_keys, measure_lists
from recsys_batch.spark.evaluation.comparison import compare_runs, metric_interval
from recsys_batch.spark.evaluation.debiased import measure_debiased, popularity_propensities
from recsys_batch.spark.evaluation.diversity import (
    measure_calibration,
    measure_category_diversity,
    measure_vector_diversity,
)
from recsys_batch.spark.evaluation.exposure import measure_coverage, measure_exposure, measure_overlap, price_band
from recsys_batch.spark.evaluation.novelty import measure_novelty, measure_serendipity
from recsys_batch.spark.evaluation.results import average_values
from recsys_batch.spark.evaluation.segments import measure_segments
from recsys_batch.spark.session import make_frame

PEERS = json.loads((Path(__file__).parent / "data/metric_peers.json").read_text(encoding="utf-8"))
LISTS = "user_id STRING, item_id STRING, rank INT, score DOUBLE"
TARGETS = "user_id STRING, item_id STRING, grade DOUBLE"
PAIRS = "user_id STRING, item_id STRING"
ALL = get_args(AccuracyMetric)


@pytest.fixture(scope="module")
def of_case(spark) -> dict[str, dict[str, float]]:
    """Return what the peers measured, as we measure it: case -> metric -> value; of the small case accuracy only."""
    random, small = (PEERS["cases"][name] for name in ("random", "hand_made"))
    return {
        "random": measure_accuracy(spark, random) | measure_beyond(spark, random),
        "hand_made": measure_accuracy(spark, small),
    }


def measure_accuracy(spark, case: dict[str, Any]) -> dict[str, float]:
    lists, targets = make_frame(spark, case["lists"], LISTS), make_frame(spark, case["targets"], TARGETS)
    return by_name(measure_lists(lists, targets, metrics=ALL, ks=PEERS["ks"]))


def measure_beyond(spark, case: dict[str, Any]) -> dict[str, float]:
    lists, targets = make_frame(spark, case["lists"], LISTS), make_frame(spark, case["targets"], TARGETS)
    history = make_frame(spark, case["history"], PAIRS)
    categories = make_frame(spark, case["categories"], "item_id STRING, category INT")
    vectors = make_frame(spark, case["vectors"], "item_id STRING, vector ARRAY<DOUBLE>")
    ks = PEERS["ks"]
    found = measure_coverage(lists, lists, categories, ks=ks)
    for frame in (
        measure_novelty(lists, history, ks=ks),
        measure_serendipity(lists, targets, history, len(case["categories"]), ks=ks),
        measure_category_diversity(lists, categories, ks=ks),
        measure_vector_diversity(lists, vectors, ks=ks),
    ):
        found += average_values(frame)
    for k in ks:
        found += measure_overlap(lists, k=k)
    return by_name(found)


def by_name(metrics) -> dict[str, float]:
    return {m.metric if m.k is None else f"{m.metric}@{m.k}": m.value for m in metrics}


def test_equals_the_peers(of_case) -> None:
    compared = set()
    for case, ours in of_case.items():
        for peer, expected in PEERS["cases"][case]["expected"].items():
            for metric, value in expected.items():
                name = metric.partition("@")[0]
                if case == "hand_made" and name not in (*ALL, "gauc"):
                    continue
                assert ours[metric] == pytest.approx(value, rel=0, abs=1e-9), (case, peer, metric)
                compared.add(name)
    assert len(compared) == 24


@pytest.fixture(scope="module")
def awkward(spark):
    """Lists and targets with everything that may be wrong with them."""
    lists = make_frame(
        spark,
        [
            # b and c share rank 2 with other scores, d and e rank 4 and score: the order is a c b d e.
            *[
                ("tied", i, r, s)
                for i, r, s in (("e", 4, 0.1), ("d", 4, 0.1), ("b", 2, 0.5), ("c", 2, 0.7), ("a", 1, 0.9))
            ],
            # x counts once, at rank 1 with score 0.9; y is second, z third.
            *[
                ("twice", i, r, s)
                for i, r, s in (("x", 4, 0.9), ("x", 1, 0.2), ("y", 2, 0.8), ("z", 3, 0.7), ("y", 2, 0.8))
            ],
            ("short", "a", 1, 0.5),
            ("gap", "a", 3, 0.5),
            ("gap", "b", 7, 0.4),
            ("untargeted", "a", 1, 0.5),
            ("nulls", None, 1, 0.5),
            ("nulls", "a", None, 0.5),
            (None, "a", 1, 0.5),
            ("nulls", "b", 9, None),
            ("irrelevant", "a", 1, 2.0),
        ],
        LISTS,
    )
    targets = make_frame(
        spark,
        [
            ("tied", "b", 1.0),
            ("tied", "e", None),
            *[("twice", "z", 1.0), ("twice", "z", 3.0), ("twice", "w", 2.0), ("twice", "z", 3.0)],
            ("short", "a", 1.0),
            ("short", "b", 1.0),
            ("gap", "b", 1.0),
            ("absent", "a", 1.0),
            ("nulls", "b", 1.0),
            ("nulls", None, 1.0),
            (None, "a", 1.0),
            ("irrelevant", "a", 0.0),
        ],
        TARGETS,
    )
    return lists.cache(), targets.cache()


@pytest.fixture(scope="module")
def awkward_values(awkward) -> dict[str, dict[str, Any]]:
    rows = measure_keys(*awkward, metrics=ALL, ks=(2, 5)).collect()
    return {row.user_id: row.asDict() for row in rows}


def test_ties_in_rank_are_ordered_by_score_and_item(awkward_values) -> None:
    tied = awkward_values["tied"]
    assert tied["mrr@5"] == 1 / 3
    assert tied["mrr@2"] == 0
    assert tied["map@5"] == pytest.approx((1 / 3 + 2 / 5) / 2)
    assert tied["ndcg@5"] == pytest.approx((1 / log2(4) + 1 / log2(6)) / (1 + 1 / log2(3)))
    # By score: a, c, b, then d and e alike. b beats d; e ties with it.
    assert tied["auc"] == (1 + 0.5) / (2 * 3)


def test_duplicate_rows_count_once_at_the_best_rank(awkward_values) -> None:
    twice = awkward_values["twice"]
    assert (twice["num_listed"], twice["num_targets"]) == (3, 2)
    assert twice["mrr@5"] == 1 / 3
    assert twice["precision@5"] == 1 / 5
    assert twice["recall@2"] == 0
    assert twice["recall@5"] == 1 / 2
    # Grades 3 (the highest of three rows) and 2; the one of grade 3 stands third.
    assert twice["ndcg_exp@5"] == pytest.approx(7 / log2(4) / (7 + 3 / log2(3)))
    assert twice["ndcg_linear@5"] == pytest.approx(3 / log2(4) / (3 + 2 / log2(3)))
    assert twice["recall_weighted@5"] == 3 / 5
    assert twice["dcg_weighted@5"] == pytest.approx(3 / log2(4) / 5)
    # z has the lowest score: 0.7 below 0.8 and 0.9.
    assert twice["auc"] == 0
    assert (twice["rmse"], twice["mae"]) == pytest.approx((3 - 0.7, 3 - 0.7))


def test_lists_shorter_than_k_and_gaps(awkward_values) -> None:
    short, gap = awkward_values["short"], awkward_values["gap"]
    assert (short["precision@5"], short["recall@5"], short["recall_min@5"], short["hit_rate@5"]) == (
        1 / 5,
        1 / 2,
        1 / 2,
        1,
    )
    assert short["map_min@5"] == 1 / 2
    assert short["ndcg@5"] == pytest.approx(1 / (1 + 1 / log2(3)))
    assert short["auc"] is None
    # Ranks 3 and 7 are places 1 and 2.
    assert (gap["mrr@2"], gap["hit_rate@2"]) == (1 / 2, 1)
    assert gap["ndcg@2"] == pytest.approx(1 / log2(3))


def test_keys_without_a_list_targets_or_relevant_targets(awkward_values, awkward) -> None:
    assert set(awkward_values) == {"tied", "twice", "short", "gap", "absent", "nulls", "irrelevant"}
    absent, nulls, irrelevant = (awkward_values[user] for user in ("absent", "nulls", "irrelevant"))
    assert [absent[f"{m}@5"] for m in ALL if m not in ("auc", "rmse", "mae")] == [0.0] * 12
    assert (nulls["mrr@5"], nulls["num_targets"], nulls["rmse"]) == (1.0, 1, None)
    assert (irrelevant["ndcg@5"], irrelevant["rmse"]) == (None, 2.0)
    zero, skip = (
        {m.metric: m for m in measure_lists(*awkward, metrics=("hit_rate",), ks=(5,), missing=missing)}
        for missing in ("zero", "skip")
    )
    assert (zero["hit_rate"].value, zero["hit_rate"].num_keys) == (pytest.approx(5 / 6), 6)
    assert (skip["hit_rate"].value, skip["hit_rate"].num_keys) == (1.0, 5)


def test_partitions_and_a_single_metric_change_nothing(awkward, awkward_values) -> None:
    lists, targets = awkward
    renamed = [frame.withColumnRenamed("user_id", "request_id") for frame in (lists.drop("score"), targets)]
    rows = measure_keys(*renamed, metrics=("map_min",), ks=(5,), key="request_id", num_partitions=3).collect()
    # Without scores b comes before c, by item.
    expected = {user: values["map_min@5"] for user, values in awkward_values.items()} | {"tied": (1 / 2 + 2 / 5) / 2}
    assert {row.request_id: row["map_min@5"] for row in rows} == pytest.approx(expected)


def test_what_cannot_be_measured_is_refused(awkward) -> None:
    lists, targets = awkward
    with pytest.raises(ValueError, match="lists lacks the columns score; it has user_id, item_id, rank"):
        measure_keys(lists.drop("score"), targets, metrics=("auc",))
    with pytest.raises(ValueError, match="unknown metrics ndgc"):
        measure_keys(lists, targets, metrics=("ndgc",))
    with pytest.raises(ValueError, match=r"from 1 on, not \(0,\)"):
        measure_keys(lists, targets, ks=(0,))
    with pytest.raises(ValueError, match="the key cannot be item_id"):
        measure_keys(lists, targets, key="item_id")
    with pytest.raises(ValueError, match="zero or skip, not 'nan'"):
        measure_keys(lists, targets, missing="nan")


@pytest.fixture(scope="module")
def shop(spark):
    """Four users had items a to d: a four times, b twice, c once, d never; two have lists, one of them repeats a."""
    history = make_frame(spark, [(u, "a") for u in "1234"] + [("1", "b"), ("2", "b"), ("3", "c"), ("1", "a")], PAIRS)
    lists = listed(spark, {"1": "ad", "9": "bc"})
    return lists.cache(), history.cache()


def listed(spark, lists: dict[str, str]):
    rows = [(user, item, rank, -float(rank)) for user, items in lists.items() for rank, item in enumerate(items, 1)]
    return make_frame(spark, rows, LISTS)


def values_of(frame, key: str = "user_id") -> dict[str, dict[str, Any]]:
    return {row[key]: row.asDict() for row in frame.collect()}


def test_novelty_by_arithmetic(shop) -> None:
    found = values_of(measure_novelty(*shop, ks=(2,), head_share=0.8))
    # a had by 4 of 4 users, d by none, which counts as one.
    assert found["1"]["novelty@2"] == pytest.approx((log2(4 / 4) + log2(4 / 1)) / 2)
    assert found["1"]["surprisal@2"] == pytest.approx((0 + 2 / 2) / 2)
    assert found["9"]["self_information@2"] == pytest.approx((log2(7 / 2) + log2(7 / 1)) / 2)
    # The head is a with 4 of 7 interactions and b, before which there were fewer than 80%.
    assert (found["1"]["tail@2"], found["9"]["tail@2"]) == (1 / 2, 1 / 2)
    assert (found["1"]["repeat@2"], found["9"]["repeat@2"]) == (1 / 2, 0)
    assert (found["1"]["popularity@2"], found["9"]["popularity@2"]) == (4 / 2, 3 / 2)


def test_calibration_by_arithmetic(spark, shop) -> None:
    lists, history = shop
    categories = make_frame(
        spark, [("a", "tea"), ("b", "tea"), ("b", "cup"), ("d", "cup")], "item_id STRING, category STRING"
    )
    found = values_of(measure_calibration(lists, history, categories, ks=(2, 1), smoothing=0.1))
    # User 1 had a twice and b once: tea 2.5 of 3. The list has tea and cup, or tea alone.
    tea, cup = 2.5 / 3, 0.5 / 3
    halves = sum(p * log(p / (0.9 * 0.5 + 0.1 * p)) for p in (tea, cup))
    tea_alone = tea * log(tea / (0.9 + 0.1 * tea)) + cup * log(1 / 0.1)
    assert found["1"]["calibration@2"] == pytest.approx(halves)
    assert found["1"]["calibration@1"] == pytest.approx(tea_alone)
    # User 4 has history and no list.
    assert found["4"]["calibration@2"] == pytest.approx(log(1 / 0.1))
    assert "9" not in found


def test_debiased_by_arithmetic(spark, shop) -> None:
    lists, history = shop
    propensities = popularity_propensities(history, gamma=1.0)
    assert {r.item_id: r.propensity for r in propensities.collect()} == {"a": 1.0, "b": 2 / 4, "c": 1 / 4}
    targets = make_frame(spark, [("1", "a"), ("1", "c"), ("9", "c"), ("9", "d"), ("9", "b")], PAIRS)
    found = values_of(measure_debiased(lists, targets, propensities, ks=(2,), min_propensity=0.1))
    # Weights: a 1, b 2, c 4, d 10.
    assert found["1"]["recall_debiased@2"] == pytest.approx(1 / (1 + 4))
    assert found["9"]["recall_debiased@2"] == pytest.approx((2 + 4) / (2 + 4 + 10))
    assert found["9"]["dcg_debiased@2"] == pytest.approx((2 + 4 / log2(3)) / 16)
    assert found["9"]["ndcg_debiased@2"] == pytest.approx((2 + 4 / log2(3)) / (10 + 4 / log2(3)))


def test_coverage_by_arithmetic(spark) -> None:
    lists = listed(spark, {"1": "ab", "2": "a", "3": "ax", "9": "c"})
    users = make_frame(spark, [(u,) for u in "123451"], "user_id STRING")
    items = make_frame(spark, [(i,) for i in "abcda"], "item_id STRING")
    found = by_name(measure_coverage(lists, users, items, ks=(2,), top_items=1))
    assert found["user_coverage"] == 3 / 5
    assert found["sufficiency@2"] == 2 / 5
    # x is no item of the catalog, and 9 no user: a 3 times, b once, c and d never.
    assert found["catalog_coverage@2"] == 2 / 4
    assert found["top_share@2"] == 3 / 4
    pairs = [abs(x - y) for x in (3, 1, 0, 0) for y in (3, 1, 0, 0)]
    assert found["gini@2"] == pytest.approx(sum(pairs) / 16 / (2 * 1))


def test_exposure_of_groups_by_arithmetic(spark) -> None:
    lists = listed(spark, {"1": "abx", "2": "ca"})
    brands = make_frame(spark, [("a", "A"), ("b", "B"), ("c", "B"), ("d", None)], "item_id STRING, brand STRING")
    found = {share.group: share for share in measure_exposure(lists, brands, k=2)}
    second = 1 / log2(3)
    assert found["A"].exposure_share == pytest.approx((1 + second) / (2 + 2 * second))
    assert found["B"].exposure_share == pytest.approx((second + 1) / (2 + 2 * second))
    assert (found["A"].catalog_share, found["B"].catalog_share, found[None].exposure_share) == (1 / 4, 2 / 4, 0)
    assert found["A"].ratio == pytest.approx(2)
    equal = {share.group: share.exposure_share for share in measure_exposure(lists, brands, k=1, weigh="equal")}
    assert equal == {"A": 1 / 2, "B": 1 / 2, None: 0}


def test_price_bands(spark) -> None:
    prices = make_frame(spark, [(0.0,), (10.0,), (49.9,), (50.0,), (None,)], "price DOUBLE")
    bands = [row[0] for row in prices.select(price_band(prices.price, (10, 50))).collect()]
    assert bands == ["..10", "10..50", "10..50", "50..", None]
    with pytest.raises(ValueError, match=r"must ascend, not \(5, 5\)"):
        price_band(prices.price, (5, 5))


def test_sampled_overlap_is_near_the_exact_one_and_repeats(spark) -> None:
    rng = np.random.default_rng(3)
    lists = listed(spark, {f"{n:03d}": "".join(rng.permutation(list("abcdefgh"))[:3]) for n in range(200)}).cache()
    exact = by_name(measure_overlap(lists, k=3, max_pairs=20_000))
    sampled, again, other = (by_name(measure_overlap(lists, k=3, max_pairs=80, seed=seed)) for seed in (1, 1, 2))
    assert sampled == again != other
    # Of 3 of 8 items, 9/8 are common on average; the standard deviation of the Jaccard index is about 0.16.
    assert exact["common_items@3"] == pytest.approx(3 / 8, abs=0.01)
    assert sampled["jaccard@3"] == pytest.approx(exact["jaccard@3"], abs=4 * 0.16 / 80**0.5)


def test_segments_worst_first(spark) -> None:
    values = make_frame(
        spark,
        [("1", 1.0, 5), ("2", 0.5, 5), ("3", None, 5), ("4", 0.0, 5)],
        "user_id STRING, `ndcg@5` DOUBLE, num_x INT",
    )
    segments = make_frame(spark, [("1", "new"), ("2", "old"), ("3", "old")], "user_id STRING, segment STRING")
    (quality,) = measure_segments(values, segments)
    assert [(name, m.value, m.num_keys) for name, m in quality.segments] == [
        (None, 0, 1),
        ("old", 0.5, 1),
        ("new", 1, 1),
    ]
    assert (quality.metric, quality.k, quality.worst, quality.best, quality.gap) == ("ndcg", 5, 0, 1, 1)
    assert measure_segments(values, segments, min_keys=2) == []


def scored(spark, values: Sequence[float | None]):
    return make_frame(spark, [(f"{n:04d}", value) for n, value in enumerate(values)], "user_id STRING, `ndcg@5` DOUBLE")


def test_comparison_of_runs(spark) -> None:
    from scipy import stats

    rng = np.random.default_rng(5)
    baseline = rng.integers(0, 5, 400) / 4
    ours = np.clip(baseline + rng.choice([0.25, 0, -0.25], 400, p=[0.4, 0.35, 0.25]), 0, 1)
    ours_frame, baseline_frame = scored(spark, [*ours, None]), scored(spark, [*baseline, 1.0])
    found = compare_runs(ours_frame, baseline_frame, "ndcg@5")
    difference = ours - baseline
    assert (found.num_keys, found.ours, found.baseline) == (
        400,
        pytest.approx(ours.mean()),
        pytest.approx(baseline.mean()),
    )
    assert found.difference.mean == pytest.approx(difference.mean())
    assert found.effect_size == pytest.approx(difference.mean() / difference.std(ddof=1))
    # Of 400 cases both are near the normal ones.
    error = difference.std(ddof=1) / 20
    assert (found.difference.low, found.difference.high) == pytest.approx(
        (difference.mean() - 1.96 * error, difference.mean() + 1.96 * error), abs=0.15 * error
    )
    assert found.p_value == pytest.approx(stats.ttest_1samp(difference, 0).pvalue, abs=0.02)
    interval = metric_interval(ours_frame, "ndcg@5")
    assert interval.low < ours.mean() < interval.high
    with pytest.raises(ValueError, match="ndcg@5: 0 keys are only in the first run and 1 only in the second"):
        compare_runs(scored(spark, ours), baseline_frame, "ndcg@5")
    alike = compare_runs(ours_frame, ours_frame, "ndcg@5")
    assert (alike.difference.low, alike.difference.high, alike.effect_size, alike.p_value) == (0, 0, 0, 1)
