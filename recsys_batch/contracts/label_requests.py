"""What a person should label next, as a table that a job can write."""

from typing import Final

import pyarrow as pa

LABEL_REQUESTS: Final = "label_requests"
"""Name of the table."""

LABEL_REQUESTS_SCHEMA: Final = pa.schema(
    [
        ("kind", pa.string()),  # item or query
        ("rank", pa.int32()),  # 1..n within a kind, dense; the order in which to label
        ("id", pa.string()),  # the item's, or the query itself
        ("text", pa.string()),  # the item's, or the query and the item whose click is the least certain
        ("predicted", pa.string()),  # what the model takes it for
        ("runner_up", pa.string()),  # what else it could be; null where there is one class
        ("confidence", pa.float64()),  # of `predicted`
        ("uncertainty", pa.float64()),  # 0 to 1
        ("distance", pa.float64()),  # to the nearest text that is labeled or of a lower rank: (1 - cosine) / 2
        ("score", pa.float64()),  # uncertainty * distance
        ("reason", pa.string()),
    ]
)

LABEL_REQUESTS_DDL: Final = (
    "kind STRING, rank INT, id STRING, text STRING, predicted STRING, runner_up STRING, confidence DOUBLE, "
    "uncertainty DOUBLE, distance DOUBLE, score DOUBLE, reason STRING"
)
"""The same for Spark; the table in the lake has the column ds besides."""
