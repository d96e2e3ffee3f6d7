"""What to label next: uncertainty by arithmetic, the greedy choice by brute force."""

import math

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys_batch.contracts.config.semi_supervised import ActiveLearning
from recsys_batch.contracts.label_requests import LABEL_REQUESTS_SCHEMA
from recsys_batch.training.examples.columns import ExamplesMismatchError
from recsys_batch.training.labeling.active_learning import Pool, choose_to_label, tags_to_pool_columns, uncertainty


def make_pool(probabilities: list[list[float]], vectors: list[list[float]], ids: list[str] | None = None) -> Pool:
    ids = ids or [f"i{place}" for place in range(len(probabilities))]
    classes = ["A", "B", "C"][: len(probabilities[0])] if probabilities else ["A", "B"]
    return Pool(
        "item", ids, [f"text of {found}" for found in ids],
        np.array(probabilities, dtype=np.float64).reshape(len(ids), len(classes)), classes,
        np.array(vectors, dtype=np.float32).reshape(len(ids), 2),
    )  # fmt: skip


def test_uncertainty_by_arithmetic() -> None:
    rows = np.array([[1.0, 0.0, 0.0], [1 / 3, 1 / 3, 1 / 3], [0.5, 0.25, 0.25]])
    assert uncertainty(rows, "entropy") == pytest.approx([0.0, 1.0, 1.5 * math.log(2) / math.log(3)])
    assert uncertainty(rows, "margin") == pytest.approx([0.0, 1.0, 1 - 0.25])
    assert uncertainty(np.ones((2, 1)), "entropy").tolist() == [0.0, 0.0]
    assert uncertainty(np.zeros((0, 2)), "margin").shape == (0,)


def test_tags_are_as_uncertain_as_their_least_certain_word() -> None:
    rows, unsure = tags_to_pool_columns(
        [np.array([[0.9, 0.1], [0.6, 0.4]], dtype=np.float32), np.zeros((0, 2), dtype=np.float32)], "margin"
    )
    assert rows.ravel() == pytest.approx([0.6, 0.4, 1.0, 0.0])
    assert unsure == pytest.approx([0.8, 0.0])


def test_an_uncertain_text_like_one_chosen_already_waits() -> None:
    # i1 is nearly i0's twin: the less uncertain i2, on the other side, comes first.
    pool = make_pool([[0.5, 0.5], [0.51, 0.49], [0.7, 0.3]], [[1, 0], [1, 0.01], [-1, 0]])
    table = choose_to_label(pool, ActiveLearning(count=3, measure="margin"))
    assert table["id"].to_pylist() == ["i0", "i2", "i1"]
    assert table["rank"].to_pylist() == [1, 2, 3]
    assert table["distance"].to_pylist() == pytest.approx([1.0, 1.0, (1 - 1 / math.sqrt(1.0001)) / 2], abs=1e-8)
    assert table["score"].to_pylist()[:2] == pytest.approx([1.0, 0.6])
    assert table["predicted"].to_pylist() == ["A", "A", "A"]
    assert table["reason"][0].as_py() == "A 50% or B 50%; the most uncertain"
    assert table["reason"][1].as_py() == "A 70% or B 30%; distance 1.00 to the nearest text labeled or chosen before"
    assert table.schema == LABEL_REQUESTS_SCHEMA


def test_what_is_labeled_already_counts_as_near() -> None:
    pool = make_pool([[0.5, 0.5], [0.6, 0.4]], [[1, 0], [0, 1]])
    labeled = np.array([[2, 0]], dtype=np.float32)
    table = choose_to_label(pool, ActiveLearning(count=1, measure="margin"), labeled)
    assert table["id"].to_pylist() == ["i1"]
    assert table["distance"].to_pylist() == [0.5]


def test_of_equal_scores_the_lower_id_goes_first() -> None:
    pool = make_pool([[0.5, 0.5]] * 3, [[1, 0], [1, 0], [1, 0]], ["b", "c", "a"])
    for diversity in ("product", "k_center"):
        table = choose_to_label(pool, ActiveLearning(count=3, diversity=diversity))
        assert table["id"].to_pylist() == ["a", "b", "c"]


def brute_force(pool: Pool, settings: ActiveLearning, labeled: list[list[float]]) -> list[str]:
    """Walk through all rows at every choice, with plain sums."""

    def distance(first, second) -> float:
        norm = math.hypot(*first) * math.hypot(*second)
        cosine = sum(float(a) * float(b) for a, b in zip(first, second, strict=True)) / norm if norm else 0.0
        return round(min(1.0, max(0.0, (1 - cosine) / 2)), 9)

    unsure = dict(zip(pool.ids, uncertainty(pool.probabilities_NC, settings.measure), strict=True))
    vectors = dict(zip(pool.ids, pool.vectors_NH.tolist(), strict=True))
    left = sorted(pool.ids)
    if settings.diversity == "k_center":
        left = sorted(sorted(left, key=lambda found: (-unsure[found], found))[: settings.count * settings.pool])
    taken: list[str] = []
    while left and len(taken) < settings.count:

        def key(found: str):
            others = labeled + [vectors[other] for other in taken]
            far = min((distance(vectors[found], other) for other in others), default=1.0)
            first = far if settings.diversity == "k_center" else unsure[found] * far
            return (-first, -unsure[found] * far, found)

        taken.append(min(left, key=key))
        left.remove(taken[-1])
    return taken


@settings(deadline=None)
@given(
    rows=st.lists(st.tuples(st.integers(0, 4), st.integers(-2, 2), st.integers(-2, 2)), min_size=1, max_size=9),
    labeled=st.lists(st.tuples(st.integers(-2, 2), st.integers(1, 2)), max_size=2),
    count=st.integers(1, 5),
    diversity=st.sampled_from(["product", "k_center"]),
    order=st.randoms(use_true_random=False),
)
def test_the_choice_is_that_of_brute_force_in_any_row_order(rows, labeled, count, diversity, order) -> None:
    ids = [f"i{place}" for place in range(len(rows))]
    together = list(zip(ids, rows, strict=True))
    order.shuffle(together)
    pool = make_pool(
        [[0.5 + row[0] / 10, 0.5 - row[0] / 10] for _, row in together],
        [[row[1], row[2]] for _, row in together],
        [found for found, _ in together],
    )
    settings = ActiveLearning(count=count, diversity=diversity, pool=1 + count % 2, measure="margin")
    vectors = np.array(labeled, dtype=np.float32) if labeled else None
    table = choose_to_label(pool, settings, vectors)
    assert table["id"].to_pylist() == brute_force(pool, settings, [list(row) for row in labeled])


def test_tables_of_kinds_are_joined_and_an_empty_pool_gives_none() -> None:
    items = make_pool([[0.5, 0.5]], [[1, 0]])
    empty = make_pool([], [])
    table = pa.concat_tables([choose_to_label(items, ActiveLearning()), choose_to_label(empty, ActiveLearning())])
    assert table.num_rows == 1


def test_columns_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ExamplesMismatchError, match="'i0' stands twice"):
        make_pool([[0.5, 0.5]] * 2, [[1, 0]] * 2, ["i0", "i0"])
    with pytest.raises(ExamplesMismatchError, match="2 probabilities a text and 1 classes"):
        Pool("item", ["a"], ["t"], np.full((1, 2), 0.5), ["A"], np.ones((1, 2), dtype=np.float32))
    with pytest.raises(ExamplesMismatchError, match="vectors 2"):
        Pool("item", ["a"], ["t"], np.full((1, 2), 0.5), ["A", "B"], np.ones((2, 2), dtype=np.float32))
