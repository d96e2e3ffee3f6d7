"""Training examples as columns, checked when they are made; tasks take them, and files give them (`example_files`)."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from recsys_batch.contracts.errors import CheckFailedError


class LabelOutOfRangeError(CheckFailedError):
    """A label is none of those that the task can learn."""


class ExamplesMismatchError(CheckFailedError):
    """Columns of examples have different lengths, or say different things of the same example."""


def check_lengths(**columns: Sequence[object] | NDArray[np.generic]) -> None:
    """Raise ExamplesMismatchError where columns have different lengths."""
    lengths = {name: len(column) for name, column in columns.items()}
    if len(set(lengths.values())) > 1:
        described = ", ".join(f"{name} {length:,}" for name, length in lengths.items())
        raise ExamplesMismatchError(f"columns of examples have different lengths: {described}; every row needs each")


def check_range(column: str, values: NDArray[np.float64], low: float, high: float) -> None:
    """Raise LabelOutOfRangeError naming the first value that is not finite or not within low..high."""
    wrong = np.flatnonzero(~((values >= low) & (values <= high) & np.isfinite(values)))
    if wrong.size:
        raise LabelOutOfRangeError(
            f"{column} of example {wrong[0]} is {values[wrong[0]]:g}, outside {low:g} to {high:g} ({wrong.size:,} of "
            f"{values.size:,} are); mend or leave out these rows"
        )


def index_labels(column: str, labels: Sequence[str], known: Sequence[str]) -> NDArray[np.int64]:
    """Return each label's place among `known`; raise LabelOutOfRangeError naming the first that is not there."""
    place = {label: index for index, label in enumerate(known)}
    for position, label in enumerate(labels):
        if label not in place:
            shown = ", ".join(map(repr, known[:10])) + (", ..." if len(known) > 10 else "")
            raise LabelOutOfRangeError(
                f"{column} of example {position} is {label!r}, none of the {len(known)} known ones ({shown}); leave "
                "out this row, or name the label among the classes before training"
            )
    return np.array([place[label] for label in labels], dtype=np.int64)


def _check_weights(weights: NDArray[np.float64] | None, count: int) -> None:
    if weights is not None:
        check_lengths(examples=range(count), weights=weights)
        check_range("weight", weights, np.finfo(np.float64).tiny, np.finfo(np.float64).max)


@dataclass(frozen=True)
class LabeledTexts:
    """Texts of one class each."""

    texts: Sequence[str]
    labels: Sequence[str]
    weights: NDArray[np.float64] | None = None
    """How much each counts in the loss; 1 where none are given."""

    def __post_init__(self) -> None:
        """Refuse columns of different lengths, weights that are not above 0."""
        check_lengths(texts=self.texts, labels=self.labels)
        _check_weights(self.weights, len(self.texts))

    def __len__(self) -> int:
        """Return the number of examples."""
        return len(self.texts)


@dataclass(frozen=True)
class RatedTexts:
    """Texts with a number each, which lies within low..high."""

    texts: Sequence[str]
    values: NDArray[np.float64]
    low: float = -np.inf
    high: float = np.inf

    def __post_init__(self) -> None:
        """Refuse columns of different lengths, and values out of range."""
        check_lengths(texts=self.texts, values=self.values)
        check_range("value", self.values, self.low, self.high)

    def __len__(self) -> int:
        """Return the number of examples."""
        return len(self.texts)


@dataclass(frozen=True)
class Clicks:
    """Items that a query, or a user, was shown: whether they were clicked (1) or not (0), and how much each counts."""

    items: Sequence[str]
    """Texts of the items."""
    labels: NDArray[np.int64]
    weights: NDArray[np.float64]
    """Inverse propensity of a click's position, 1 for what was not clicked (`spark.labels.query_item_pairs`)."""
    queries: Sequence[str] | None = None
    users: NDArray[np.float32] | None = field(default=None, repr=False)
    """Vectors (N, D), where the left side is no query."""

    def __post_init__(self) -> None:
        """Refuse columns of different lengths, labels but 0 and 1, weights that are not above 0."""
        if (self.queries is None) == (self.users is None):
            raise ExamplesMismatchError("clicks need queries or user vectors, and not both")
        left = self.queries if self.queries is not None else self.users
        assert left is not None  # one of them is there  # noqa: S101
        check_lengths(items=self.items, labels=self.labels, weights=self.weights, left=left)
        check_range("label", self.labels.astype(np.float64), 0, 1)
        _check_weights(self.weights, len(self.items))

    def __len__(self) -> int:
        """Return the number of examples."""
        return len(self.items)


@dataclass(frozen=True)
class TaggedTexts:
    """Texts as words (or characters), and one BIO tag a word."""

    words: Sequence[Sequence[str]]
    tags: Sequence[Sequence[str]]
    weights: NDArray[np.float64] | None = None
    """How much the words of each text count in the loss; 1 where none are given."""

    def __post_init__(self) -> None:
        """Refuse texts whose words and tags do not go together, weights that are not above 0."""
        check_lengths(words=self.words, tags=self.tags)
        _check_weights(self.weights, len(self.words))
        for position, (words, tags) in enumerate(zip(self.words, self.tags, strict=True)):
            if len(words) != len(tags):
                raise ExamplesMismatchError(f"example {position} has {len(words)} words and {len(tags)} tags")

    def __len__(self) -> int:
        """Return the number of examples."""
        return len(self.words)
