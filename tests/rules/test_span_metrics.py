"""Entity spans and their F1: by hand, and against seqeval."""

import math
import warnings

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys_batch.rules.metrics.spans import Span, SpanScores, decode_spans, macro_f1, micro_scores, score_spans

TAGS = ("O", "B-a", "I-a", "B-b", "I-b", "B-c-d", "I-c-d")
texts = st.lists(st.lists(st.tuples(*[st.sampled_from(TAGS)] * 2), min_size=1, max_size=9), min_size=1, max_size=5)


def test_spans_by_hand() -> None:
    assert decode_spans(["B-a", "I-a", "O", "B-b", "B-b"]) == [Span("a", 0, 2), Span("b", 3, 4), Span("b", 4, 5)]
    assert decode_spans([]) == []


def test_malformed_inside_tags() -> None:
    # After O, and after another type.
    tags = ["I-a", "I-a", "O", "B-b", "I-a"]
    assert decode_spans(tags) == [Span("a", 0, 2), Span("b", 3, 4), Span("a", 4, 5)]
    assert decode_spans(tags, strict=True) == [Span("b", 3, 4)]


def test_scores_by_hand() -> None:
    true = [["B-a", "I-a", "O", "B-b"], ["B-b", "O"]]
    predicted = [["B-a", "I-a", "O", "B-a"], ["B-b", "B-b"]]
    found = score_spans(true, predicted)
    assert found == {"a": SpanScores(1, 2, 1), "b": SpanScores(2, 2, 1)}
    assert (found["a"].precision, found["a"].recall) == (1 / 2, 1)
    micro = micro_scores(found)
    assert (micro.precision, micro.recall) == (2 / 4, 2 / 3)
    assert micro.f1 == pytest.approx(2 * (1 / 2 * 2 / 3) / (1 / 2 + 2 / 3))
    assert macro_f1(found) == pytest.approx((2 / 3 + 1 / 2) / 2)


def test_nothing_to_find_is_zero() -> None:
    assert score_spans([["O"]], [["O"]]) == {}
    assert micro_scores({}).f1 == 0.0
    assert macro_f1({}) == 0.0


@pytest.mark.parametrize("tag", ["", "X-a", "B", "B-", "I_a"])
def test_no_bio_tag_is_refused(tag: str) -> None:
    with pytest.raises(ValueError, match="must be O, B-type or I-type"):
        decode_spans(["O", tag])


def test_texts_of_different_shape_are_refused() -> None:
    with pytest.raises(ValueError, match="2 texts with true tags, 1"):
        score_spans([["O"], ["O"]], [["O"]])
    with pytest.raises(ValueError, match="text 1: 1 true tags, 2 predicted"):
        score_spans([["O"], ["O"]], [["O"], ["O", "O"]])


@settings(derandomize=True, max_examples=150, deadline=None)
@given(texts, st.booleans())
def test_equal_to_seqeval(pairs: list[list[tuple[str, str]]], strict: bool) -> None:
    seqeval_metrics = pytest.importorskip("seqeval.metrics", reason="seqeval is not installed")
    from seqeval.scheme import IOB2

    true, predicted = ([[pair[side] for pair in text] for text in pairs] for side in (0, 1))
    how = {"mode": "strict", "scheme": IOB2} if strict else {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        options = {"zero_division": 0, **how}
        expected = [
            seqeval_metrics.precision_score(true, predicted, average="micro", **options),
            seqeval_metrics.recall_score(true, predicted, average="micro", **options),
            seqeval_metrics.f1_score(true, predicted, average="micro", **options),
            seqeval_metrics.f1_score(true, predicted, average="macro", **options),
        ]
    found = score_spans(true, predicted, strict)
    micro = micro_scores(found)
    assert [micro.precision, micro.recall, micro.f1, macro_f1(found)] == pytest.approx(
        [0.0 if math.isnan(value) else float(value) for value in expected]  # its mean over no types is nan
    )
