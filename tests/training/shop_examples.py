"""Exported examples of a tiny shop, written as Spark writes them; its words are those of the tiny tokenizer."""

from itertools import product
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from recsys_batch.contracts.example_schemas import ExampleTables

COLORS, KINDS = ("red", "blue", "红", "色"), ("mug", "cup", "shoes", "手机", "跑鞋")
ITEMS = {f"i{number:02d}": f"{color} {kind}" for number, (color, kind) in enumerate(product(COLORS, KINDS))}
TEST_ITEMS = ("i03", "i07", "i11", "i19")
"""Items that training does not know."""


def write_examples(root: Path, rows: dict[tuple[str, str], list[dict[str, Any]]] | None = None) -> str:
    """Write every table, some parts replaced by `rows`; return the folder."""
    for (table, part), found in (shop_rows() | (rows or {})).items():
        folder = root / table / f"split={part}"
        folder.mkdir(parents=True)
        (root / table / "_SUCCESS").touch()
        pq.write_table(pa.Table.from_pylist(found, ExampleTables.SCHEMAS[table]), folder / "part-0.parquet")
    return str(root)


def shop_rows() -> dict[tuple[str, str], list[dict[str, Any]]]:
    """Queries are kinds of things: what is of the kind is clicked, its neighbor is shown in vain. Sessions stay within
    a color, good reviews have five stars.
    """
    rows: dict[tuple[str, str], list[dict[str, Any]]] = {}
    ids = list(ITEMS)
    parts = {"train": [i for i in ids if i not in TEST_ITEMS], "valid": [], "test": list(TEST_ITEMS)}
    for part, found in parts.items():
        rows[ExampleTables.ITEMS, part] = [
            {"item_id": item, "text": ITEMS[item], "category": ITEMS[item].split()[1]} for item in found
        ]
    for part, usable in (("train", parts["train"]), ("valid", parts["train"][:8]), ("test", ids)):
        clicks = [
            {"query": kind, "item_id": item, "label": int(kind == ITEMS[item].split()[1]), "weight": 1.0}
            for kind in KINDS
            for item in usable
            if KINDS.index(ITEMS[item].split()[1]) - KINDS.index(kind) in (0, 1)
        ]
        rows[ExampleTables.CLICKS, part] = clicks
        rows[ExampleTables.QUERY_ITEMS, part] = [
            {name: row[name] for name in ("query", "item_id", "weight")} for row in clicks if row["label"]
        ]
        rows[ExampleTables.SESSIONS, part] = [
            {"item_ids": [item for item in usable if ITEMS[item].startswith(color)]} for color in COLORS
        ]
        rows[ExampleTables.RATINGS, part] = [
            {"item_id": item, "text": word, "rating": stars}
            for item in usable
            for word, stars in (("good", 5.0), ("bad", 1.0), ("好", 4.0), ("差", 2.0))
        ]
    return rows
