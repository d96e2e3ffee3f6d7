"""Self-training (Lee, 2013) in rounds: train, guess labels of a pool, train on labels and guesses, guess anew.

Texts that are held out or labeled never are in the pool, in any spelling that `normalize_query` takes for the same.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np

from recsys_batch.rules.text import normalize_query
from recsys_batch.training.labeling.pseudo_labels import Examples, Indices, PseudoLabels, PseudoReport

Model = TypeVar("Model")


@dataclass(frozen=True)
class Round(Generic[Model]):
    """One round of self-training: the model, its metric on validation data, and what it was trained on besides."""

    number: int
    """0: on the true labels alone."""
    model: Model
    metric: float
    report: PseudoReport | None


def self_train(
    labeled: Examples,
    pool: Sequence[str],
    held_out: Sequence[Iterable[str]],
    *,
    labeled_texts: Iterable[str],
    fit: Callable[[Examples, int], tuple[Model, float]],
    guess: Callable[[Model, Indices], PseudoLabels[Examples]],
    join: Callable[[Examples, Examples], Examples],
    rounds: int,
) -> list[Round[Model]]:
    """Train on labels, then `rounds` times on labels and the guesses of the model before; return every round.

    `fit(examples, round)` trains a new model and returns it with its metric on validation data; `guess(model, rows)`
    labels these positions of `pool`; `join` puts labels and guesses together. `pool` are the texts themselves; those
    that occur in `held_out` (every part that measures: validation and test) or among `labeled_texts` are never given to
    `guess`. Ends early where a round is sure of nothing.
    """
    rows = outside_of(pool, *held_out, labeled_texts)
    model, metric = fit(labeled, 0)
    found = [Round(0, model, metric, None)]
    for number in range(1, rounds + 1):
        if not rows.size:
            break
        guessed = guess(found[-1].model, rows)
        if not guessed.report.num_kept:
            break
        model, metric = fit(join(labeled, guessed.examples), number)
        found.append(Round(number, model, metric, guessed.report))
    return found


def best_round(rounds: Sequence[Round[Model]]) -> Round[Model]:
    """Return the round of the highest metric on validation data; of equal ones the earliest."""
    return max(rounds, key=lambda found: (found.metric, -found.number))


def outside_of(texts: Sequence[str], *others: Iterable[str]) -> Indices:
    """Return the positions of the texts that are none of the others, and each text once: what a pool may hold.

    Texts are the same where `normalize_query` makes them so; blank ones are left out.
    """
    seen: set[str | None] = {normalize_query(text) for other in others for text in other} | {None}
    kept = []
    for position, text in enumerate(texts):
        key = normalize_query(text)
        if key not in seen:
            seen.add(key)
            kept.append(position)
    return np.array(kept, dtype=np.int64)
