"""Reads training examples that `spark.training_data` wrote: Arrow alone, no JVM. Equal files give equal examples,
in an order that does not depend on how they were written.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.dataset as pads
from numpy.typing import NDArray

from recsys_batch.contracts.datasets import SPLITS
from recsys_batch.contracts.errors import InputNotReadyError
from recsys_batch.contracts.example_schemas import ExampleTables
from recsys_batch.contracts.filesystem import open_folder
from recsys_batch.training.examples.columns import Clicks, LabeledTexts, RatedTexts


class ExamplesNotFoundError(InputNotReadyError):
    """The folder of training examples was not written, or not to its end."""


@dataclass(frozen=True)
class QueryItems:
    """Pairs of a query and an item that was chosen under it; `weights` count more the oftener."""

    queries: Sequence[str]
    item_ids: Sequence[str]
    weights: NDArray[np.float64]


class ExampleFiles:
    """The examples of one dataset below `folder`, a path or URI; a part is train, valid or test."""

    def __init__(self, folder: str) -> None:
        """Point to the folder that `export_examples` returned."""
        self._folder = folder

    @cached_property
    def item_texts(self) -> Mapping[str, str]:
        """Item id -> text, of all parts."""
        return self.texts_of(*SPLITS)

    def texts_of(self, *parts: str) -> dict[str, str]:
        """Return item id -> text of these parts; of part train, what training may read."""
        rows = pa.concat_tables([self.read(ExampleTables.ITEMS, part) for part in parts])
        return dict(zip(rows["item_id"].to_pylist(), rows["text"].to_pylist(), strict=True))

    def categories(self, part: str) -> LabeledTexts:
        """Return texts of items with their categories; for training those that it may read."""
        rows = self.read(ExampleTables.ITEMS, part)
        rows = rows.filter(rows["category"].is_valid())
        return LabeledTexts(rows["text"].to_pylist(), rows["category"].to_pylist())

    def ratings(self, part: str, low: float, high: float) -> RatedTexts:
        """Return ratings of low to high with what is known: the review where there is one, then the item's text.

        Raises LabelOutOfRangeError for a rating beyond.
        """
        rows = self._with_texts(self.read(ExampleTables.RATINGS, part))
        reviews, items = rows["text"].to_pylist(), self._texts_of(rows)
        texts = [f"{review}\n{item}" if review else item for review, item in zip(reviews, items, strict=True)]
        return RatedTexts(texts, rows["rating"].to_numpy().copy(), low, high)

    def clicks(self, part: str) -> Clicks:
        """Return what queries were shown, with what came of it."""
        rows = self._with_texts(self.read(ExampleTables.CLICKS, part))
        labels, weights = rows["label"].to_numpy().astype(np.int64), rows["weight"].to_numpy().copy()
        return Clicks(self._texts_of(rows), labels, weights, rows["query"].to_pylist())

    def query_items(self, part: str) -> QueryItems:
        """Return the pairs of a query and an item that was chosen under it."""
        rows = self._with_texts(self.read(ExampleTables.QUERY_ITEMS, part))
        return QueryItems(rows["query"].to_pylist(), rows["item_id"].to_pylist(), rows["weight"].to_numpy())

    def sessions(self, part: str) -> list[list[str]]:
        """Return the item ids of each session, oldest first."""
        rows: list[list[str]] = self.read(ExampleTables.SESSIONS, part)["item_ids"].to_pylist()
        return sorted(rows)

    def read(self, table: str, part: str) -> pa.Table:
        """Return one part of a table of `ExampleTables`, sorted by all its columns; empty where it has no rows.

        Raises ExamplesNotFoundError where the table was never written to its end.
        """
        schema = ExampleTables.SCHEMAS[table]
        system, path = open_folder(self._folder)
        marks = system.get_file_info([f"{path}/{table}/_SUCCESS", f"{path}/{table}/split={part}"])
        if not marks[0].is_file:
            raise ExamplesNotFoundError(
                f"{self._folder}/{table}: no training examples, or not finished; export the dataset again"
            )
        if marks[1].type == pa.fs.FileType.NotFound:
            return schema.empty_table()
        found = pads.dataset(f"{path}/{table}/split={part}", schema, format="parquet", filesystem=system).to_table()
        keys = [(field.name, "ascending") for field in schema if not pa.types.is_list(field.type)]
        return found.sort_by(keys) if keys else found

    def _with_texts(self, rows: pa.Table) -> pa.Table:
        """Leave out rows of items without a text: those that left the catalog."""
        return rows.filter(pa.array([item in self.item_texts for item in rows["item_id"].to_pylist()], pa.bool_()))

    def _texts_of(self, rows: pa.Table) -> list[str]:
        return [self.item_texts[item] for item in rows["item_id"].to_pylist()]
