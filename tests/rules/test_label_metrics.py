"""Metrics of labels and numbers: by arithmetic, and against scikit-learn."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics

from recsys_batch.rules.metrics.labels import accuracy, auc, log_loss, macro_f1, rmse

pairs = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=30)
scored = st.lists(
    st.tuples(
        st.integers(0, 1), st.sampled_from([0.0, 0.1, 0.5, 0.5000001, 0.9, 1.0]), st.sampled_from([0.5, 1.0, 7.0])
    ),
    min_size=2,
    max_size=30,
)


def test_by_arithmetic() -> None:
    labels, predicted = np.array([0, 0, 1, 2]), np.array([0, 1, 1, 1])
    assert accuracy(labels, predicted) == 2 / 4
    # F1 of 0: 2 * 1 / (2 + 1); of 1: 2 * 1 / (1 + 3); of 2: 0.
    assert macro_f1(labels, predicted) == pytest.approx((2 / 3 + 2 / 4 + 0) / 3)
    assert rmse(np.array([1.0, 2.0]), np.array([4.0, 2.0])) == pytest.approx(math.sqrt(9 / 2))
    # Of the four pairs two are right, one is a tie.
    assert auc(np.array([1, 1, 0, 0]), np.array([0.9, 0.4, 0.4, 0.6])) == (1 + 1 + 0.5) / 4
    assert log_loss(np.array([1, 0]), np.array([0.5, 0.75])) == pytest.approx(-(math.log(0.5) + math.log(0.25)) / 2)


def test_without_examples_or_with_one_label() -> None:
    none, nothing = np.zeros(0, dtype=np.int64), np.zeros(0)
    assert [accuracy(none, none), macro_f1(none, none), rmse(nothing, nothing), log_loss(none, nothing)] == [0.0] * 4
    assert auc(none, nothing) == 0.5
    assert auc(np.ones(3, dtype=np.int64), np.array([0.1, 0.2, 0.3])) == 0.5


@settings(derandomize=True, max_examples=60, deadline=None)
@given(pairs)
def test_labels_as_scikit_learn(rows: list[tuple[int, int]]) -> None:
    labels, predicted = np.array(rows).T
    assert accuracy(labels, predicted) == metrics.accuracy_score(labels, predicted)
    assert macro_f1(labels, predicted) == pytest.approx(metrics.f1_score(labels, predicted, average="macro"))
    numbers = labels.astype(np.float64), predicted + 0.25
    assert rmse(*numbers) == pytest.approx(metrics.root_mean_squared_error(*numbers))


@settings(derandomize=True, max_examples=60, deadline=None)
@given(scored)
def test_probabilities_as_scikit_learn(rows: list[tuple[int, float, float]]) -> None:
    labels = np.array([0, 1] + [row[0] for row in rows])
    scores = np.array([0.5, 0.5] + [row[1] for row in rows])
    weights = np.array([1.0, 2.0] + [row[2] for row in rows])
    assert auc(labels, scores) == pytest.approx(metrics.roc_auc_score(labels, scores))
    assert auc(labels, scores, weights) == pytest.approx(metrics.roc_auc_score(labels, scores, sample_weight=weights))
    assert log_loss(labels, scores) == pytest.approx(metrics.log_loss(labels, scores))
