"""Builders of what the worker tasks read: record batches cut anywhere, and small item indexes on disk."""

import contextvars
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recsys_batch.contracts.worker_task import TaskInfo, WorkerTask, enter_task

Pairs = dict[tuple[int, int], float]


@dataclass(frozen=True)
class Shop:
    """A catalog as the tests think of it: one row an item, and co-visitation weights by (item, neighbor)."""

    vectors_ID: npt.NDArray[np.float32]
    eligible: list[bool]
    popularity: list[float]
    categories: list[str | None]
    brands: list[str | None]
    pairs: Pairs

    @property
    def num_items(self) -> int:
        return len(self.eligible)

    def item_id(self, index: int) -> str:
        return f"item-{index:03d}"

    def title(self, index: int) -> str:
        return f"商品 {index}"


def make_shop(vectors: npt.ArrayLike, **columns: Any) -> Shop:
    """Return a shop in which all that is not given is plain: eligible, unknown, without category and neighbors."""
    vectors_ID = np.asarray(vectors, dtype=np.float32)
    num_items = len(vectors_ID)
    plain = {
        "eligible": [True] * num_items,
        "popularity": [0.0] * num_items,
        "categories": [None] * num_items,
        "brands": [None] * num_items,
        "pairs": {},
    }
    return Shop(vectors_ID, **(plain | columns))


def draw_shop(seed: int, num_items: int = 40, width: int = 6) -> Shop:
    """Return a random shop with ties: twin items of one vector, few popularity values, some items sold out."""
    rng = np.random.default_rng(seed)
    vectors_ID = rng.standard_normal((num_items, width))
    vectors_ID[num_items // 2 :: 5] = vectors_ID[0]
    vectors_ID /= np.linalg.norm(vectors_ID, axis=1, keepdims=True)
    # Eighths are exact in float32, so that sums tie where they should.
    pairs = {(int(i), int(j)): float(rng.integers(1, 9)) / 8 for i, j in rng.integers(0, num_items, (num_items * 4, 2))}
    return make_shop(
        vectors_ID,
        eligible=(rng.random(num_items) < 0.8).tolist(),
        popularity=rng.integers(0, 4, num_items).astype(float).tolist(),
        categories=[[None, "A", "B > C"][code] for code in rng.integers(0, 3, num_items)],
        pairs=pairs,
    )


def write_shop(
    folder: Path,
    shop: Shop,
    num_files: int = 3,
    seed: int = 0,
    indices: Sequence[int] | None = None,
    strays: Pairs | None = None,
) -> str:
    """Write the item index as Spark would, in shuffled order and several files, and return its folder.

    `indices` are the items' stable indices, by default their rows; `strays` are pairs of stable indices that come on
    top of the shop's.
    """
    rows = range(shop.num_items)
    stable = list(rows if indices is None else indices)
    items = pa.table(
        {
            "item_index": pa.array(stable, pa.int32()),
            "item_id": [shop.item_id(row) for row in rows],
            "title": [shop.title(row) for row in rows],
            "category_key": pa.array(shop.categories, pa.string()),
            "brand": pa.array(shop.brands, pa.string()),
            "eligible": pa.array(shop.eligible, pa.bool_()),
            "vector": pa.array(list(shop.vectors_ID), pa.list_(pa.float32())),
            "popularity": pa.array(shop.popularity, pa.float64()),
        }
    )
    weights = {(stable[item], stable[other]): weight for (item, other), weight in shop.pairs.items()} | (strays or {})
    keys = list(weights)
    pairs = pa.table(
        {
            "item": pa.array([item for item, _ in keys], pa.int32()),
            "neighbor": pa.array([neighbor for _, neighbor in keys], pa.int32()),
            "weight": pa.array(list(weights.values()), pa.float64()),
        }
    )
    write_parts(folder / "items", items, num_files, seed)
    write_parts(folder / "covisitation", pairs, num_files, seed + 1)
    return str(folder)


def write_parts(folder: Path, table: pa.Table, num_files: int, seed: int) -> None:
    folder.mkdir(parents=True)
    shuffled = table.take(pa.array(np.random.default_rng(seed).permutation(table.num_rows)))
    bounds = np.linspace(0, table.num_rows, num_files + 1).astype(int)
    for part in range(num_files):
        rows = shuffled.slice(bounds[part], bounds[part + 1] - bounds[part])
        pq.write_table(rows, folder / f"part-{part:05d}.snappy.parquet")
    (folder / "_SUCCESS").touch()


def cut_batches(table: pa.Table, cuts: Sequence[int]) -> Iterator[pa.RecordBatch]:
    """Yield the table as record batches that end at `cuts` (any order; two equal ones give a batch without rows)."""
    bounds = [0, *sorted(cut % (table.num_rows + 1) for cut in cuts), table.num_rows]
    whole = table.combine_chunks()
    for start, stop in pairwise(bounds):
        rows = whole.slice(start, stop - start).to_batches()
        yield rows[0] if rows else pa.RecordBatch.from_pylist([], schema=table.schema)


def run_task(task: WorkerTask, table: pa.Table, cuts: Sequence[int] = (), partition: int = 0) -> pa.Table:
    """Run the task over the table cut anywhere, as one partition, and return all it yields; the schema is checked."""

    def run() -> pa.Table:
        enter_task(TaskInfo(partition=partition, cpus=2))
        return pa.Table.from_batches(task(cut_batches(table, cuts)), schema=task.output_schema)

    made = contextvars.copy_context().run(run)
    made.validate(full=True)
    return made


@dataclass(frozen=True)
class Builders:
    """The builders above, for tests that cannot import a conftest."""

    make_shop: Callable[..., Shop] = make_shop
    draw_shop: Callable[..., Shop] = draw_shop
    write_shop: Callable[..., str] = write_shop
    run_task: Callable[..., pa.Table] = run_task
    cut_batches: Callable[..., Iterator[pa.RecordBatch]] = cut_batches


@pytest.fixture(scope="session")
def build() -> Builders:
    return Builders()
