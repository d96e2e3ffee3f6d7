"""Entities in tagged words, and how well predicted ones match: exact spans, as conlleval and seqeval count them.

Tags are BIO: `B-type` begins an entity, `I-type` goes on with it, `O` is outside.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

OUTSIDE = "O"


class Span(NamedTuple):
    """An entity: its type, its first word and the word after its last."""

    kind: str
    start: int
    end: int


@dataclass(frozen=True)
class SpanScores:
    """Matches of all types together, or of one type. An entity counts only where type and both ends are right."""

    num_true: int
    num_predicted: int
    num_correct: int

    @property
    def precision(self) -> float:
        """Correct among the predicted; 0 where nothing is predicted."""
        return self.num_correct / self.num_predicted if self.num_predicted else 0.0

    @property
    def recall(self) -> float:
        """Correct among the true; 0 where there are none."""
        return self.num_correct / self.num_true if self.num_true else 0.0

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall; 0 where nothing is correct."""
        return 2 * self.num_correct / (self.num_true + self.num_predicted) if self.num_correct else 0.0


def split_tag(tag: str) -> tuple[str, str]:
    """Return prefix (B, I or O) and type of a tag. Raises ValueError on anything that is no BIO tag."""
    if tag == OUTSIDE:
        return OUTSIDE, ""
    prefix, dash, kind = tag.partition("-")
    if prefix not in ("B", "I") or not dash or not kind:
        raise ValueError(f"tag {tag!r}: must be O, B-type or I-type")
    return prefix, kind


def decode_spans(tags: Sequence[str], strict: bool = False) -> list[Span]:
    """Return the entities of one text's tags in their order.

    An `I-` after `O`, at the beginning or after another type continues nothing. As in conlleval and in seqeval's
    default mode it begins an entity; `strict` (seqeval's IOB2 strict mode) ignores it and what continues it. Raises
    ValueError on anything that is no BIO tag.
    """
    spans: list[Span] = []
    open_kind, start, is_valid = "", 0, False
    for place, tag in enumerate([*tags, OUTSIDE]):
        prefix, kind = split_tag(tag)
        if prefix == "I" and kind == open_kind:
            continue
        if open_kind and is_valid:
            spans.append(Span(open_kind, start, place))
        open_kind, start, is_valid = kind, place, prefix == "B" or not strict
    return spans


def score_spans(
    true: Sequence[Sequence[str]], predicted: Sequence[Sequence[str]], strict: bool = False
) -> dict[str, SpanScores]:
    """Count true, predicted and correct entities by type over several texts; types ascend.

    Raises ValueError where the texts are not the same: another number of texts, or of tags in a text.
    """
    if len(true) != len(predicted):
        raise ValueError(f"{len(true)} texts with true tags, {len(predicted)} with predicted ones: must be the same")
    counts: tuple[Counter[str], Counter[str], Counter[str]] = (Counter(), Counter(), Counter())
    for position, (right, guessed) in enumerate(zip(true, predicted, strict=True)):
        if len(right) != len(guessed):
            raise ValueError(f"text {position}: {len(right)} true tags, {len(guessed)} predicted ones")
        right_spans, guessed_spans = set(decode_spans(right, strict)), set(decode_spans(guessed, strict))
        for counter, spans in zip(counts, (right_spans, guessed_spans, right_spans & guessed_spans), strict=True):
            counter.update(span.kind for span in spans)
    return {kind: SpanScores(*(counter[kind] for counter in counts)) for kind in sorted(counts[0] | counts[1])}


def micro_scores(by_kind: dict[str, SpanScores]) -> SpanScores:
    """Return the scores over all entities, whatever their type."""
    scores = by_kind.values()
    return SpanScores(
        sum(s.num_true for s in scores), sum(s.num_predicted for s in scores), sum(s.num_correct for s in scores)
    )


def macro_f1(by_kind: dict[str, SpanScores]) -> float:
    """Return the mean F1 of the types, those only predicted included as seqeval does; 0 without any."""
    return sum(s.f1 for s in by_kind.values()) / len(by_kind) if by_kind else 0.0
