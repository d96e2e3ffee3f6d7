"""Training examples as files: which tables Spark writes for training jobs, which read them without a JVM.

`datasets/<split>/examples/<ds>/<table>/split=<part>/*.parquet` below the lake.
"""

from datetime import date
from typing import Final

import pyarrow as pa


class ExampleTables:
    """Table -> columns, besides the part (train, valid, test) that the folder names."""

    ITEMS: Final = "items"
    RATINGS: Final = "ratings"
    CLICKS: Final = "clicks"
    QUERY_ITEMS: Final = "query_items"
    SESSIONS: Final = "sessions"

    SCHEMAS: Final[dict[str, pa.Schema]] = {
        # An item is of part train where training may read its text; `category` is its path, null without one.
        ITEMS: pa.schema([("item_id", pa.string()), ("text", pa.string()), ("category", pa.string())]),
        # `text` is the review, null where only stars were given.
        RATINGS: pa.schema([("item_id", pa.string()), ("text", pa.string()), ("rating", pa.float64())]),
        # One row a search and item shown: label 1 where it was clicked, carted or bought.
        CLICKS: pa.schema(
            [("query", pa.string()), ("item_id", pa.string()), ("label", pa.int32()), ("weight", pa.float64())]
        ),
        # One row a query and item with label 1; the sum of the weights.
        QUERY_ITEMS: pa.schema([("query", pa.string()), ("item_id", pa.string()), ("weight", pa.float64())]),
        # The items of one session in their order, an item at once again left out; two of them at least.
        SESSIONS: pa.schema([("item_ids", pa.list_(pa.string()))]),
    }


def examples_folder(split: str, ds: date) -> str:
    """Return where the tables of one dataset lie below the lake's root."""
    return f"datasets/{split}/examples/{ds.isoformat()}"
