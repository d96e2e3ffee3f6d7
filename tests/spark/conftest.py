"""Small frames in the shape of the input tables, and an empty lake a test."""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import pytest

from recsys_batch.contracts.columns import Inputs
from recsys_batch.spark.inputs.notes import NOTES, NOTES_TYPE

Rows = Sequence[Mapping[str, Any]]


@pytest.fixture(scope="session")
def frame(spark) -> Callable[[Mapping[str, str], Rows], Any]:
    """Make a frame of (column -> Spark type) and rows; what a row lacks is null, times are strings in UTC."""

    def make(types: Mapping[str, str], rows: Rows):
        assert all(row.keys() <= types.keys() for row in rows), "a row names an unknown column"
        ddl = ", ".join(f"`{column}` {kind}" for column, kind in types.items())
        return spark.createDataFrame([tuple(_value(row.get(c), k) for c, k in types.items()) for row in rows], ddl)

    return make


@pytest.fixture(scope="session")
def raw(frame) -> Callable[[str, Rows], Any]:
    """Make rows of an input table as `sources.read_table` gives them, `_kept` true where a row does not say."""

    def make(table: str, rows: Rows):
        return frame(
            Inputs.TYPES[table] | {"_kept": "boolean", NOTES: NOTES_TYPE}, [{"_kept": True} | dict(row) for row in rows]
        )

    return make


@pytest.fixture
def lake(spark, tmp_path):
    from recsys_batch.spark.lake.tables import Lake

    return Lake.at(spark, str(tmp_path / "lake"))


def _value(value: Any, kind: str) -> Any:
    if kind == "timestamp" and isinstance(value, str):
        return datetime.fromisoformat(value).replace(tzinfo=UTC)
    return value
