"""Writes a demo shop with Spark: each task makes the rows of a range of users or items, so size costs no memory."""

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Final

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame, Observation, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.pandas.types import from_arrow_schema

from recsys_batch.contracts.columns import EVENT_TYPES
from recsys_batch.contracts.errors import ConfigError
from recsys_batch.demo import tables, truth
from recsys_batch.demo.draws import IntArray
from recsys_batch.demo.folder import ShopFolder
from recsys_batch.demo.spec import ShopSpec

USERS_PER_PARTITION: Final = 5_000
ITEMS_PER_PARTITION: Final = 50_000
USERS_PER_BATCH: Final = 500
ITEMS_PER_BATCH: Final = 5_000
MANIFEST: Final = "truth/manifest.json"
_ROWS: Final = "rows"
SUBFOLDERS: Final = ("items", "events", "reviews", "truth")

Counts = dict[str, int]


@dataclass(frozen=True)
class ShopManifest:
    """What was written: the arguments, the rows of each table, of each event type and of each kind of fault."""

    num_users: int
    num_items: int
    num_days: int
    start: str
    end: str
    seed: int
    rows: dict[str, int]
    events_by_type: dict[str, int]
    dirt_by_kind: dict[str, int]


@dataclass(frozen=True)
class RowsTask:
    """Makes rows from the ids in record batches; runs on executors by `mapInArrow`."""

    spec: ShopSpec
    make: Callable[[ShopSpec, IntArray], pa.RecordBatch]
    output_schema: pa.Schema
    batch_size: int

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Make the rows, a bounded number at a time."""
        for batch in batches:
            ids = batch.column(0).to_numpy().astype(np.int64)
            for part in tables.slices(ids, self.batch_size):
                yield self.make(self.spec, part)


def write_shop(
    spark: SparkSession,
    spec: ShopSpec,
    out_path: str,
    *,
    overwrite: bool = False,
    report: Callable[[str], None] = lambda _: None,
) -> ShopManifest:
    """Write the shop below `out_path`, the manifest last, and return the manifest.

    Raises ConfigError where the folder is not empty, unless `overwrite`, which deletes only the folders of a shop.
    `report` is called with a line of progress before each step.
    """
    folder = ShopFolder(spark, out_path)
    if not folder.is_empty():
        if not overwrite:
            raise ConfigError(f"{out_path}: the folder is not empty; choose another one or pass --overwrite")
        folder.delete(SUBFOLDERS)
    writer = _Writer(spark, spec, out_path)
    found = {}
    for name, write in writer.steps().items():
        report(f"writing {name}")
        found[name] = write()
    manifest = ShopManifest(
        num_users=spec.num_users,
        num_items=spec.num_items,
        num_days=spec.num_days,
        start=spec.start.isoformat(),
        end=spec.end.isoformat(),
        seed=spec.seed,
        rows={name: counts[_ROWS] for name, counts in found.items()},
        events_by_type={name: found["events"][name] for name in EVENT_TYPES},
        dirt_by_kind={name: found["truth/dirt"][name] for name in truth.DIRT_KINDS},
    )
    folder.write_text(MANIFEST, json.dumps(asdict(manifest), indent=2, sort_keys=True) + "\n")
    return manifest


class _Writer:
    """One method a table; each returns the counts of what it wrote."""

    def __init__(self, spark: SparkSession, spec: ShopSpec, out_path: str) -> None:
        self._spark = spark
        self._spec = spec
        self._out = out_path
        cores = spark.sparkContext.defaultParallelism
        self._user_partitions = max(min(cores, 1 + spec.num_users // 200), -(-spec.num_users // USERS_PER_PARTITION))

    def steps(self) -> dict[str, Callable[[], Counts]]:
        """Return the tables in the order of writing."""
        return {
            "items": self._write_items,
            "events": self._write_events,
            "reviews": self._write_reviews,
            "truth/users": self._write_truth_users,
            "truth/items": self._write_truth_items,
            "truth/dirt": self._write_dirt,
            "truth/position_bias": self._write_position_bias,
        }

    def _of_users(self, make: Callable[[ShopSpec, IntArray], pa.RecordBatch], schema: pa.Schema) -> DataFrame:
        ids = self._spark.range(0, self._spec.num_users, 1, self._user_partitions)
        task = RowsTask(self._spec, make, schema, USERS_PER_BATCH)
        return ids.mapInArrow(task, from_arrow_schema(schema))

    def _of_items(self, make: Callable[[ShopSpec, IntArray], pa.RecordBatch], schema: pa.Schema) -> DataFrame:
        ids = self._spark.range(0, self._spec.num_items, 1, -(-self._spec.num_items // ITEMS_PER_PARTITION))
        task = RowsTask(self._spec, make, schema, ITEMS_PER_BATCH)
        return ids.mapInArrow(task, from_arrow_schema(schema))

    def _write_items(self) -> Counts:
        counted, rows = _observed(self._of_items(tables.make_items, tables.ITEMS_SCHEMA))
        counted.write.json(f"{self._out}/items", compression="gzip", ignoreNullFields=False)
        return rows()

    def _write_events(self) -> Counts:
        days = min(self._user_partitions, self._spec.num_days)
        events = self._of_users(tables.make_events, tables.EVENTS_SCHEMA).repartition(days, "day")
        counted, rows = _observed(
            events.sortWithinPartitions("day", "event_time", "event_id"), "event_type", EVENT_TYPES
        )
        counted.write.partitionBy("day").parquet(f"{self._out}/events")
        return rows()

    def _write_reviews(self) -> Counts:
        counted, rows = _observed(self._of_users(tables.make_reviews, tables.REVIEWS_SCHEMA))
        # Quotes are doubled (RFC 4180): readers need escape='"' as well as multiLine.
        counted.write.csv(f"{self._out}/reviews", header=True, escape='"', compression="gzip")
        return rows()

    def _write_truth_users(self) -> Counts:
        return self._write_truth(self._of_users(truth.make_users, truth.USERS_SCHEMA), "users")

    def _write_truth_items(self) -> Counts:
        return self._write_truth(self._of_items(truth.make_items, truth.ITEMS_SCHEMA), "items")

    def _write_dirt(self) -> Counts:
        by_users = self._of_users(truth.make_user_dirt, truth.DIRT_SCHEMA)
        by_items = self._of_items(truth.make_item_dirt, truth.DIRT_SCHEMA)
        return self._write_truth(by_items.union(by_users), "dirt", "kind", truth.DIRT_KINDS)

    def _write_position_bias(self) -> Counts:
        bias = self._spark.createDataFrame(pa.Table.from_batches([truth.make_position_bias()]))
        return self._write_truth(bias.coalesce(1), "position_bias")

    def _write_truth(self, frame: DataFrame, name: str, column: str = "", values: Iterable[str] = ()) -> Counts:
        counted, rows = _observed(frame, column, values)
        counted.write.parquet(f"{self._out}/truth/{name}")
        return rows()


def _observed(frame: DataFrame, column: str = "", values: Iterable[str] = ()) -> tuple[DataFrame, Callable[[], Counts]]:
    """Return the frame and a function that tells, once it is written, its rows, also by the values of a column."""
    observation = Observation()
    by_value = [F.count_if(F.col(column) == value).alias(value) for value in values]
    counted = frame.observe(observation, F.count(F.lit(1)).alias(_ROWS), *by_value)
    return counted, lambda: observation.get
