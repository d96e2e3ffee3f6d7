"""Guesses of a trained model as labels of more texts: those it is sure of, once its confidence is calibrated.

Training on them in rounds is in `self_training`.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from recsys_batch.contracts.semi_supervised_config import PseudoLabeling
from recsys_batch.rules.calibration import apply_temperature, fit_temperature
from recsys_batch.rules.span_metrics import decode_spans, micro_scores, score_spans
from recsys_batch.training.examples.columns import Clicks, LabeledTexts, TaggedTexts, check_lengths, index_labels

Indices = NDArray[np.int64]
Examples = TypeVar("Examples")
_TINY = np.finfo(np.float64).tiny


class ClassModel(Protocol):
    """What labels texts: `ClassificationTask`."""

    classes: tuple[str, ...]

    def probabilities(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return (N, C)."""


class TagModel(Protocol):
    """What labels words: `TaggingTask`."""

    names: tuple[str, ...]

    def probabilities(self, texts: Sequence[Sequence[str]]) -> list[NDArray[np.float32]]:
        """Return for each text (words, C)."""


class ClickModel(Protocol):
    """What says whether an item would be clicked: `ClickRankingTask`."""

    def probabilities(
        self, items: Sequence[str], queries: Sequence[str] | None = None, users: NDArray[np.float32] | None = None
    ) -> NDArray[np.float32]:
        """Return (N)."""


@dataclass(frozen=True)
class PseudoReport:
    """What became of a pool."""

    num_pool: int
    num_kept: int
    num_unsure: int
    """Below the floor."""
    num_over_limit: int
    """Sure enough, but beyond `per_class`."""
    by_class: dict[str, int]
    """Kept, by label; of tags: entities by type."""
    temperature: float
    mean_confidence: float
    precision: float | None
    """Right among the kept labels (of tags: among the kept entities), where the truth was given."""


@dataclass(frozen=True)
class PseudoLabels(Generic[Examples]):
    """Examples to train on, and where in the pool they stand."""

    examples: Examples
    positions: Indices
    report: PseudoReport


def select_confident(
    confidence_N: NDArray[np.float64], labels_N: Indices, floor: float, per_class: int = 0
) -> tuple[Indices, int]:
    """Return the rows that are sure enough, ascending, and how many more `per_class` left out.

    Of a class the surest stay; of equal ones the earlier.
    """
    sure = np.flatnonzero(confidence_N >= floor)
    if not per_class:
        return sure, 0
    order = sure[np.lexsort((sure, -confidence_N[sure]))]
    kept = [order[labels_N[order] == label][:per_class] for label in np.unique(labels_N[order])]
    chosen = np.sort(np.concatenate([np.zeros(0, dtype=np.int64), *kept]))
    return chosen, len(sure) - len(chosen)


def label_texts(
    model: ClassModel,
    texts: Sequence[str],
    settings: PseudoLabeling,
    validation: LabeledTexts | None = None,
    truth: Sequence[str] | None = None,
) -> PseudoLabels[LabeledTexts]:
    """Return classes for the texts that the model is sure of. `truth`: the right ones, for the report alone.

    Raises ValueError where calibration is asked for without validation data, ExamplesMismatchError where `truth` has
    another length, LabelOutOfRangeError where a validation label is none of the model's.
    """
    temperature = 1.0
    if settings.calibrate:
        held_out = _needed(validation)
        labels_V = index_labels("validation label", held_out.labels, model.classes)
        temperature = fit_temperature(model.probabilities(held_out.texts), labels_V)
    probabilities_NC = apply_temperature(model.probabilities(texts), temperature)
    labels_N, confidence_N = probabilities_NC.argmax(1), probabilities_NC.max(1, initial=0.0)
    rows, over = select_confident(confidence_N, labels_N, settings.floor, settings.per_class)
    names = [model.classes[label] for label in labels_N[rows]]
    right = None
    if truth is not None:
        check_lengths(texts=texts, truth=truth)
        right = (sum(name == truth[row] for name, row in zip(names, rows, strict=True)), len(rows))
    report = _report(confidence_N, rows, over, Counter(names), temperature, right)
    examples = LabeledTexts([texts[row] for row in rows], names, _weights(confidence_N[rows], settings))
    return PseudoLabels(examples, rows, report)


def tag_texts(
    model: TagModel,
    words: Sequence[Sequence[str]],
    settings: PseudoLabeling,
    validation: TaggedTexts | None = None,
    truth: Sequence[Sequence[str]] | None = None,
) -> PseudoLabels[TaggedTexts]:
    """Return tags for the texts in which the model is sure of every word. Raises what `label_texts` raises.

    `per_class` does not apply: a text has words of many tags. Texts without words are left out.
    """
    temperature = 1.0
    if settings.calibrate:
        held_out = _needed(validation)
        labels = [index_labels("validation tag", tags, model.names) for tags in held_out.tags]
        temperature = fit_temperature(
            np.concatenate([np.zeros((0, len(model.names))), *model.probabilities(held_out.words)]),
            np.concatenate([np.zeros(0, dtype=np.int64), *labels]),
        )
    found = [apply_temperature(row_WC, temperature) for row_WC in model.probabilities(words)]
    confidence_N = np.array([row_WC.max(1).min() if len(row_WC) else -1.0 for row_WC in found], dtype=np.float64)
    rows, over = select_confident(confidence_N, np.zeros(len(found), dtype=np.int64), max(settings.floor, 0.0))
    tags = [[model.names[label] for label in found[row].argmax(1)] for row in rows]
    kinds = Counter(span.kind for row in tags for span in decode_spans(row))
    right = None
    if truth is not None:
        check_lengths(words=words, truth=truth)
        scores = micro_scores(score_spans([truth[row] for row in rows], tags))
        right = (scores.num_correct, scores.num_predicted)
    report = _report(confidence_N, rows, over, kinds, temperature, right)
    examples = TaggedTexts([words[row] for row in rows], tags, _weights(confidence_N[rows], settings))
    return PseudoLabels(examples, rows, report)


def label_clicks(
    model: ClickModel, pool: Clicks, settings: PseudoLabeling, validation: Clicks | None = None, *, truth: bool = False
) -> PseudoLabels[Clicks]:
    """Return clicks (1) and passed-over items (0) that the model is sure of, among pairs that nobody was shown.

    The labels in `pool` are not read, unless they are the `truth` for the report. Raises what `label_texts` raises.
    """
    temperature = 1.0
    if settings.calibrate:
        held_out = _needed(validation)
        temperature = fit_temperature(_two_columns(model, held_out), held_out.labels)
    probabilities_N2 = apply_temperature(_two_columns(model, pool), temperature)
    labels_N, confidence_N = probabilities_N2.argmax(1), probabilities_N2.max(1, initial=0.0)
    rows, over = select_confident(confidence_N, labels_N, settings.floor, settings.per_class)
    right = (int((labels_N[rows] == pool.labels[rows]).sum()), len(rows)) if truth else None
    report = _report(confidence_N, rows, over, Counter(map(str, labels_N[rows])), temperature, right)
    examples = Clicks(
        [pool.items[row] for row in rows],
        labels_N[rows].astype(np.int64),
        _weights(confidence_N[rows], settings),
        [pool.queries[row] for row in rows] if pool.queries is not None else None,
        pool.users[rows] if pool.users is not None else None,
    )
    return PseudoLabels(examples, rows, report)


def join_texts(first: LabeledTexts, second: LabeledTexts) -> LabeledTexts:
    """Return the examples of both, each with its weight."""
    texts, labels = [*first.texts, *second.texts], [*first.labels, *second.labels]
    return LabeledTexts(texts, labels, _join_weights(first, second))


def join_tags(first: TaggedTexts, second: TaggedTexts) -> TaggedTexts:
    """Return the examples of both, each with its weight."""
    return TaggedTexts([*first.words, *second.words], [*first.tags, *second.tags], _join_weights(first, second))


def join_clicks(first: Clicks, second: Clicks) -> Clicks:
    """Return the examples of both. Raises ExamplesMismatchError where one has queries and the other user vectors."""
    has_queries = first.queries is not None and second.queries is not None
    has_users = first.users is not None and second.users is not None
    return Clicks(
        [*first.items, *second.items],
        np.concatenate([first.labels, second.labels]),
        np.concatenate([first.weights, second.weights]),
        [*(first.queries or ()), *(second.queries or ())] if has_queries else None,
        np.concatenate([first.users, second.users]) if has_users else None,
    )


def _two_columns(model: ClickModel, clicks: Clicks) -> NDArray[np.float64]:
    clicked_N = model.probabilities(clicks.items, clicks.queries, clicks.users).astype(np.float64)
    return np.stack([1 - clicked_N, clicked_N], axis=1)


def _weights(confidence_N: NDArray[np.float64], settings: PseudoLabeling) -> NDArray[np.float64]:
    return np.maximum(settings.weight * confidence_N, _TINY)


def _join_weights(*parts: LabeledTexts | TaggedTexts) -> NDArray[np.float64]:
    return np.concatenate([np.ones(len(part)) if part.weights is None else part.weights for part in parts])


def _needed(validation: Examples | None) -> Examples:
    if validation is None:
        raise ValueError("pseudo-labels are calibrated on validation data; give it, or set calibrate to false")
    return validation


def _report(
    confidence_N: NDArray[np.float64],
    rows: Indices,
    num_over: int,
    by_class: Counter[str],
    temperature: float,
    right: tuple[int, int] | None,
) -> PseudoReport:
    return PseudoReport(
        num_pool=len(confidence_N),
        num_kept=len(rows),
        num_unsure=len(confidence_N) - len(rows) - num_over,
        num_over_limit=num_over,
        by_class=dict(sorted(by_class.items())),
        temperature=temperature,
        mean_confidence=float(confidence_N[rows].mean()) if len(rows) else 0.0,
        precision=right[0] / right[1] if right and right[1] else None,
    )
