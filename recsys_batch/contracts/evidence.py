"""What the night leaves beside its item index for a ranker: names that Spark writes and workers read."""

from typing import Final

from recsys_batch.contracts.columns import BASKET, EASE, ITEM_KNN, NEXT_BASKET

EVIDENCE: Final = "evidence"
"""Folder below the index: `facts`, `users`, `acts`, and a folder an item-item model."""
ITEM_MODELS: Final = (ITEM_KNN, BASKET, NEXT_BASKET, EASE)
WINDOWS: Final[dict[str, float]] = {"3": 3.0, "7": 7.0, "14": 14.0, "30": 30.0, "90": 90.0, "all": float("inf")}
"""Days that users of an item are counted over, by the end of the column's name (`users_7`)."""
RECENT_DAYS: Final = 60.0
"""What is recent counts exp(-age / these days), of profiles and of the users that they are compared with alike."""
