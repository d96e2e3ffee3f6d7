"""What a person should label next, as a table that a job can write."""

from typing import Final

import pyarrow as pa

LABEL_REQUESTS: Final = "label_requests"
"""Name of the table."""

LABEL_REQUESTS_SCHEMA: Final = pa.schema(
    [
        ("kind", pa.string()),  # item or query
        ("rank", pa.int32()),  # 1..n within a kind, dense; the order in which to label
        ("id", pa.string()),
        ("text", pa.string()),
        ("predicted", pa.string()),  # what the model takes it for
        ("runner_up", pa.string()),  # what else it could be; null where there is one class
        ("confidence", pa.float64()),  # of `predicted`
        ("uncertainty", pa.float64()),  # 0 to 1
        ("distance", pa.float64()),  # to the nearest text that is labeled or of a lower rank: (1 - cosine) / 2
        ("score", pa.float64()),  # uncertainty * distance
        ("reason", pa.string()),
    ]
)
