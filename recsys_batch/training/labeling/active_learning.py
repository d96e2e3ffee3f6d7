"""What a person should label next: items and queries that a model is unsure of and that are unlike one another.

Greedy and deterministic: of equal scores the lower id goes first.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from recsys_batch.contracts.config.semi_supervised import ActiveLearning
from recsys_batch.contracts.label_requests import LABEL_REQUESTS_SCHEMA
from recsys_batch.training.examples.columns import ExamplesMismatchError, check_lengths

Matrix = NDArray[np.float64]
_LABELED_BLOCK = 512
"""Labeled texts compared at a time: a shop has too many for one matrix."""


@dataclass(frozen=True)
class Pool:
    """Texts without labels, of one kind."""

    kind: str
    """item or query."""
    ids: Sequence[str]
    texts: Sequence[str]
    probabilities_NC: Matrix
    """What a model says of each."""
    classes: Sequence[str]
    vectors_NH: NDArray[np.float32]
    """Encoder vectors; they are brought to length 1."""
    uncertainty_N: Matrix | None = None
    """0 to 1, where it is not that of `probabilities_NC`: of tags, that of a text's least certain word."""

    def __post_init__(self) -> None:
        """Refuse columns of different lengths, and an id that stands twice."""
        given = {"uncertainty": self.uncertainty_N} if self.uncertainty_N is not None else {}
        check_lengths(
            ids=self.ids, texts=self.texts, probabilities=self.probabilities_NC, vectors=self.vectors_NH, **given
        )
        if len(self.ids) and self.probabilities_NC.shape[1] != len(self.classes):
            raise ExamplesMismatchError(
                f"{self.kind}: {self.probabilities_NC.shape[1]} probabilities a text and {len(self.classes)} classes"
            )
        if len(set(self.ids)) < len(self.ids):
            twice = next(found for place, found in enumerate(self.ids) if found in set(self.ids[:place]))
            raise ExamplesMismatchError(f"{self.kind} {twice!r} stands twice in the pool; give every id once")


def uncertainty(probabilities_NC: Matrix, measure: str) -> Matrix:
    """Return how unsure each row is, 0 (one class is certain) to 1; 0 where there is one class.

    `entropy`: -sum p log p / log C; `margin`: 1 - (p of the likeliest - p of the second) (Settles, 2009).
    """
    values_NC = np.asarray(probabilities_NC, dtype=np.float64)
    num_classes = values_NC.shape[1]
    if num_classes < 2:
        return np.zeros(len(values_NC))
    if measure == "margin":
        top_N2 = np.sort(values_NC, axis=1)[:, -2:]
        margins_N: Matrix = 1.0 - (top_N2[:, 1] - top_N2[:, 0])
        return margins_N
    terms_NC = values_NC * np.log(np.where(values_NC > 0, values_NC, 1.0))
    entropy_N: Matrix = np.clip(-terms_NC.sum(1) / np.log(num_classes), 0.0, 1.0)
    return entropy_N


def tags_to_pool_columns(probabilities: Sequence[NDArray[np.float32]], measure: str) -> tuple[Matrix, Matrix]:
    """Return for texts with tag probabilities (words, C) each: the row of the least certain word (N, C), and its
    uncertainty (N). A text without words is certain: it gets the first tag.
    """
    num_classes = max((row_WC.shape[1] for row_WC in probabilities), default=0)
    rows_NC, uncertainty_N = np.zeros((len(probabilities), num_classes)), np.zeros(len(probabilities))
    for place, row_WC in enumerate(probabilities):
        of_words_W = uncertainty(row_WC.astype(np.float64), measure)
        if len(of_words_W):
            word = int(of_words_W.argmax())
            rows_NC[place], uncertainty_N[place] = row_WC[word], of_words_W[word]
        else:
            rows_NC[place, :1] = 1.0
    return rows_NC, uncertainty_N


def choose_to_label(
    pool: Pool, settings: ActiveLearning, labeled_vectors_LH: NDArray[np.float32] | None = None
) -> pa.Table:
    """Return what to label first (LABEL_REQUESTS_SCHEMA), ranks ascending; all of a pool that is smaller than `count`.

    `labeled_vectors_LH`: what has labels already; the distance to it counts too. Tables of several kinds are joined
    with `pa.concat_tables`.
    """
    uncertainty_N = pool.uncertainty_N
    if uncertainty_N is None:
        uncertainty_N = uncertainty(pool.probabilities_NC, settings.measure)
    # Rows by id, so that the first of equal scores is the one of the lowest id.
    by_id = np.array(sorted(range(len(pool.ids)), key=lambda row: pool.ids[row]), dtype=np.int64)
    if settings.diversity == "k_center":
        most_unsure = np.argsort(-uncertainty_N[by_id], kind="stable")[: settings.count * settings.pool]
        by_id = by_id[np.sort(most_unsure)]
    vectors_NH, labeled_LH = _unit(pool.vectors_NH[by_id]), labeled_vectors_LH
    distance_N = np.ones(len(by_id))
    for start in range(0, len(labeled_LH) if labeled_LH is not None else 0, _LABELED_BLOCK):
        assert labeled_LH is not None  # there was a row  # noqa: S101
        block_BH = _unit(labeled_LH[start : start + _LABELED_BLOCK])
        distance_N = np.minimum(distance_N, _distance(vectors_NH @ block_BH.T).min(1))
    rows = []
    left_N = np.ones(len(by_id), dtype=bool)
    for rank in range(1, min(settings.count, len(by_id)) + 1):
        score_N = uncertainty_N[by_id] * distance_N
        place = _pick(score_N, distance_N, left_N, settings.diversity)
        row = int(by_id[place])
        rows.append(
            _describe(pool, row, rank, float(uncertainty_N[row]), float(distance_N[place]), labeled_LH is not None)
        )
        left_N[place] = False
        distance_N = np.minimum(distance_N, _distance(vectors_NH @ vectors_NH[place]))
    return pa.Table.from_pylist(rows, schema=LABEL_REQUESTS_SCHEMA)


def _pick(score_N: Matrix, distance_N: Matrix, left_N: NDArray[np.bool_], diversity: str) -> int:
    """Return the best row that is left. k-center goes by distance, and by score among the equally far."""
    first_N = np.where(left_N, distance_N if diversity == "k_center" else score_N, -np.inf)
    best = np.flatnonzero(first_N == first_N.max())
    return int(best[score_N[best].argmax()])


def _describe(
    pool: Pool, row: int, rank: int, unsure: float, distance: float, has_labeled: bool
) -> dict[str, str | int | float | None]:
    probabilities_C = pool.probabilities_NC[row]
    order = np.argsort(-probabilities_C, kind="stable")
    predicted = pool.classes[order[0]]
    runner_up = pool.classes[order[1]] if len(order) > 1 else None
    confidence = float(probabilities_C[order[0]])
    doubt = f"{predicted} {confidence:.0%}"
    if runner_up is not None:
        doubt += f" or {runner_up} {float(probabilities_C[order[1]]):.0%}"
    alone = rank == 1 and not has_labeled
    place = "the most uncertain" if alone else f"distance {distance:.2f} to the nearest text labeled or chosen before"
    return {
        "kind": pool.kind,
        "rank": rank,
        "id": pool.ids[row],
        "text": pool.texts[row],
        "predicted": predicted,
        "runner_up": runner_up,
        "confidence": confidence,
        "uncertainty": unsure,
        "distance": distance,
        "score": unsure * distance,
        "reason": f"{doubt}; {place}",
    }


def _unit(vectors_NH: NDArray[np.float32]) -> Matrix:
    values_NH = np.asarray(vectors_NH, dtype=np.float64)
    lengths_N1 = np.linalg.norm(values_NH, axis=1, keepdims=True)
    unit_NH: Matrix = values_NH / np.where(lengths_N1 > 0, lengths_N1, 1.0)
    return unit_NH


def _distance(cosine: Matrix) -> Matrix:
    """Return (1 - cosine) / 2, rounded: what is equal must not differ by the order of a sum."""
    halves: Matrix = np.clip((1.0 - cosine) / 2.0, 0.0, 1.0)
    return halves.round(9)
