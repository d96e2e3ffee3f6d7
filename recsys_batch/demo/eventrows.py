"""Events as arrays: the form in which behavior makes them, dirt spoils them and tables renders them."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Final

import numpy as np

from recsys_batch.contracts.columns import EVENT_TYPE_CODES
from recsys_batch.demo.draws import BoolArray, FloatArray, IntArray, mix

SEARCH: Final = EVENT_TYPE_CODES["search"]
IMPRESSION: Final = EVENT_TYPE_CODES["impression"]
VIEW: Final = EVENT_TYPE_CODES["view"]
CLICK: Final = EVENT_TYPE_CODES["click"]
CART: Final = EVENT_TYPE_CODES["cart"]
PURCHASE: Final = EVENT_TYPE_CODES["purchase"]
RETURN: Final = EVENT_TYPE_CODES["return"]
RATING: Final = EVENT_TYPE_CODES["rating"]
FAVORITE: Final = EVENT_TYPE_CODES["favorite"]
UNFAVORITE: Final = EVENT_TYPE_CODES["unfavorite"]


@dataclass(frozen=True)
class EventRows:
    """One entry a row. -1 stands for no item, no session and no language, 0 for no position, NaN for no number."""

    user: IntArray
    session: IntArray
    item: IntArray
    type: IntArray
    time: IntArray  # milliseconds since 1970
    arrival: IntArray  # the day whose partition it lands in, in days since 1970
    position: IntArray
    quantity: FloatArray
    rating: FloatArray
    domain: IntArray
    key: IntArray  # unique; unchanged by dirt
    dirt: IntArray

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.user)

    def take(self, chosen: BoolArray | IntArray) -> "EventRows":
        """Return the chosen rows."""
        return EventRows(**{field.name: getattr(self, field.name)[chosen] for field in fields(self)})


def concat_rows(parts: Sequence[EventRows]) -> EventRows:
    """Put rows one under the other."""
    return EventRows(
        **{field.name: np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(EventRows)}
    )


def pack_key(user: IntArray, session: IntArray, slot: IntArray, event_type: int) -> IntArray:
    """Pack what identifies an event: 35 bits for the user, 16 for the session, 8 for the slot, 4 for the type."""
    packed: IntArray = (user << 28) | (session << 12) | (slot << 4) | event_type
    return packed


def hex_ids(keys: IntArray, prefix: str) -> list[str]:
    """Write keys as opaque 16-digit ids; distinct keys give distinct ids."""
    with np.errstate(over="ignore"):
        text = mix(keys.astype(np.uint64)).astype(">u8").tobytes().hex()
    return [prefix + text[start : start + 16] for start in range(0, len(text), 16)]
