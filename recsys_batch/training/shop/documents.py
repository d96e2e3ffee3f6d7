"""Texts of items as what is retrieved: items of equal text are one document, so that none counts against its double."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

Indices = NDArray[np.int64]


class Documents:
    """The distinct texts of some items, ascending; `place` says which document an item is."""

    def __init__(self, texts_of_items: Mapping[str, str]) -> None:
        """Keep each text once."""
        self.texts = sorted(set(texts_of_items.values()))
        rows = {text: row for row, text in enumerate(self.texts)}
        self.place = {item: rows[text] for item, text in texts_of_items.items()}

    def __len__(self) -> int:
        """Return the number of documents."""
        return len(self.texts)

    def known(self, item_ids: Sequence[str]) -> NDArray[np.bool_]:
        """Return whether each item has a document."""
        return np.array([item in self.place for item in item_ids], dtype=bool)

    def places(self, item_ids: Sequence[str]) -> Indices:
        """Return the documents of items that are known."""
        return np.array([self.place[item] for item in item_ids], dtype=np.int64)

    def walk(self, sessions: Sequence[Sequence[str]]) -> list[list[int]]:
        """Return sessions as documents, unknown items left out."""
        return [[self.place[item] for item in session if item in self.place] for session in sessions]

    def popularity(self, places: Indices, weights: NDArray[np.floating] | None = None) -> NDArray[np.float64]:
        """Return how often each document is among `places`, by weight; never 0 for all."""
        counted = np.bincount(places, weights, minlength=len(self)).astype(np.float64)
        return counted if counted.any() else np.ones(len(self))
