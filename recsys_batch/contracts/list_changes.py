"""What moved between two sides of one list table, the baseline and the candidate: figures that fit a screen."""

import math
from dataclasses import asdict, dataclass
from datetime import date
from typing import Any, Generic, TypeVar

# Causes of an item's leaving a list, in the order in which they are looked at.
NOT_ELIGIBLE = "not_eligible"
BOUGHT = "bought"
NEW_ITEMS = "new_items"
OTHER_MODEL = "other_model"
OWN_HISTORY = "own_history"
OTHER_SCORES = "other_scores"
CAUSES = (NOT_ELIGIBLE, BOUGHT, NEW_ITEMS, OTHER_MODEL, OWN_HISTORY, OTHER_SCORES)


V = TypeVar("V")


@dataclass(frozen=True)
class Pair(Generic[V]):
    """One figure on both sides."""

    before: V
    now: V


@dataclass(frozen=True)
class SideFacts:
    """Which rows a side is."""

    ds: date
    run_id: str
    state: str
    """`released`, or `staged` where the rows were never published."""
    prepared_run: str
    """The run whose prepared tables the rows rest on."""


@dataclass(frozen=True)
class KeyChange:
    """How much the lists of some keys, which have one on both sides, differ."""

    keys: int
    unchanged: int
    """Lists with the same items in the same places."""
    reordered: int
    """Lists with the same items in other places."""
    common_share: float
    """Mean over the keys of the items on both sides, divided by the length of the longer list; NaN without keys."""


@dataclass(frozen=True)
class Shift:
    """The share of a group of rows (a candidate source, a kind of reason, a category) in all rows of a side."""

    group: str
    share: Pair[float]


@dataclass(frozen=True)
class MovedItem:
    """An item that is shown more, or less, than before."""

    item_id: str
    title: str
    lists: Pair[int]
    """Lists that it is in."""
    exposure: Pair[float]
    """Its share of the sum of 1 / log2(rank + 1) over all rows of the side."""


@dataclass(frozen=True)
class Placed:
    """An item of one key's lists, and its rank on either side; None: it is not in that list."""

    item_id: str
    title: str
    before: int | None
    now: int | None

    @property
    def mark(self) -> str:
        """What became of it: `new`, `gone`, `up 2`, `down 1`, or nothing where it kept its place."""
        if self.before is None or self.now is None:
            return "new" if self.before is None else "gone"
        places = self.before - self.now
        return "" if not places else f"up {places}" if places > 0 else f"down {-places}"


@dataclass(frozen=True)
class ListChanges:
    """What moved in one list table, for whom, and why."""

    table: str
    only_before: int
    """Keys with a list on the baseline's side only."""
    only_now: int
    both: KeyChange
    rows: Pair[int]
    longest: int
    """Length of the longest list of either side, which the metrics of both sides are taken at."""
    models: Pair[str]
    left: dict[str, int]
    """Cause (`CAUSES`) -> items that left a list of a key with lists on both sides. The causes add up."""
    entered: int
    """Items that came into such a list."""
    coverage: Pair[float]
    """Share of the items that may be recommended that any list shows."""
    top_share: Pair[float]
    """Share of the rows that the 100 most shown items have."""
    gini: Pair[float]
    shifts: dict[str, tuple[Shift, ...]]
    """`source`, `reason` and `category` -> the groups whose share moved most, first the one that moved most."""
    gained: tuple[MovedItem, ...]
    lost: tuple[MovedItem, ...]
    segments: dict[str, KeyChange]
    """Of user lists: items in the user's history -> the change of these users' lists; else nothing."""


@dataclass(frozen=True)
class KeyLists:
    """The lists of one key on both sides."""

    key: str
    items: tuple[Placed, ...]
    """In no order."""


def as_values(facts: SideFacts | ListChanges) -> dict[str, Any]:
    """Return the facts as JSON takes them: dates as text, figures to six decimals, null for what is no number."""
    values: dict[str, Any] = _plain(asdict(facts))
    return values


def _plain(value: Any) -> Any:
    match value:
        case dict():
            return {name: _plain(each) for name, each in value.items()}
        case list() | tuple():
            return [_plain(each) for each in value]
        case float():
            return round(value, 6) if math.isfinite(value) else None
        case date():
            return value.isoformat()
    return value
