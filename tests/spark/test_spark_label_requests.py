"""The table of what to label: written once a date, with the columns of its Arrow schema."""

from datetime import date
from pathlib import Path

import pyarrow as pa
from pyspark.sql.pandas.types import from_arrow_schema

from recsys_batch.contracts.label_requests import LABEL_REQUESTS, LABEL_REQUESTS_SCHEMA
from recsys_batch.learn.label import write_requests
from recsys_batch.spark.lake.tables import Lake

DAYS = (date(2026, 6, 29), date(2026, 6, 30))


def requests(*ids: str) -> pa.Table:
    row = {"kind": "item", "text": "红色 mug", "predicted": "mug", "runner_up": None, "reason": "mug 50%"}
    numbers = {"confidence": 0.5, "uncertainty": 1.0, "distance": 0.25, "score": 0.25}
    rows = [{**row, **numbers, "id": found, "rank": place + 1} for place, found in enumerate(ids)]
    return pa.Table.from_pylist(rows, LABEL_REQUESTS_SCHEMA)


def test_a_date_is_replaced_and_others_stay(spark, tmp_path: Path) -> None:
    lake = Lake.at(spark, str(tmp_path))
    write_requests(lake, requests("i1"), DAYS[0])
    write_requests(lake, requests("i1", "i2", "i3"), DAYS[1])
    write_requests(lake, requests("i4", "i2"), DAYS[1])
    read = lake.read(LABEL_REQUESTS)
    assert read.drop("ds").schema == from_arrow_schema(LABEL_REQUESTS_SCHEMA)
    found = sorted((row.ds, row["rank"], row.id, row.text, row.runner_up) for row in read.collect())
    assert [row[:3] for row in found] == [(DAYS[0], 1, "i1"), (DAYS[1], 1, "i4"), (DAYS[1], 2, "i2")]
    assert {row[3:] for row in found} == {("红色 mug", None)}
    write_requests(lake, requests(), DAYS[1])
    assert [row.ds for row in lake.read(LABEL_REQUESTS).collect()] == [DAYS[0]]
