"""The configuration of `prepare`: how raw rows become interactions, a catalog, user histories and datasets."""

import math
import re
from collections.abc import Mapping
from datetime import date
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from recsys_batch.contracts.columns import Inputs
from recsys_batch.contracts.config.block import Block, EventType, Share, Zone


def _compiles(pattern: str) -> str:
    try:
        re.compile(pattern)
    except re.error as error:
        raise ValueError(f"{pattern!r} is not a regular expression: {error}") from None
    return pattern


Pattern = Annotated[str, AfterValidator(_compiles)]
"""A regular expression that is searched for; empty: none."""


def _is_day(day: str) -> str:
    try:
        parsed = date.fromisoformat(day)
    except ValueError:
        raise ValueError(f"{day!r} is no date of the form YYYY-MM-DD") from None
    return parsed.isoformat()


Day = Annotated[str, AfterValidator(_is_day)]
"""A date, YYYY-MM-DD."""


class Accounts(Block):
    """Accounts that are no shoppers: how they are told, and what becomes of their events.

    Only deliberate acts count (view, click, cart, purchase, favorite), over the whole window.
    """

    bots: Literal["keep", "cap", "exclude"] = "exclude"
    """`exclude` quarantines their events as `bot`; `cap` keeps the first `cap_events_per_day` of a day."""
    resellers: Literal["keep", "cap", "exclude"] = "keep"
    """The same for those who buy to sell again, as `reseller`."""
    test_ids: Pattern = ""
    """Users whose canonical id this finds are the shop's testers: their events go to quarantine as `test_account`."""
    busy_minute_acts: int = Field(5, ge=2)
    """A minute with at least this many acts of one user is busy."""
    bot_busy_minutes: int = Field(15, ge=1)
    """A user with this many busy minutes on one day is a bot: people pause, read and leave."""
    bot_catalog_share: Share = 0.5
    """A user who touches more of the catalog than this, and at least `bot_min_items` items, is a bot."""
    bot_min_items: int = Field(500, ge=1)
    reseller_quantity: float = Field(10.0, gt=1)
    """Average pieces a purchase from which on a user may be a reseller."""
    reseller_purchases: int = Field(20, ge=2)
    """Purchases that a reseller has at least."""
    cap_events_per_day: int = Field(50, ge=1)
    """Events a day of a capped account that count; the rest is quarantined as `over_cap`."""


class Missing(Block):
    """Where a missing catalog field is taken from, in this order; what no source gives stays missing.

    The column `filled` of `items` says which fields were filled, and from where.
    """

    title: list[Literal["attributes", "description"]] = ["attributes"]
    """An item that has no title even so is quarantined as `missing_title`."""
    brand: list[Literal["attributes", "near_duplicates", "title"]] = ["attributes", "near_duplicates", "title"]
    """`title`: a brand of the catalog that the title begins with."""
    category: list[Literal["attributes", "near_duplicates"]] = ["attributes", "near_duplicates"]
    price: list[Literal["attributes", "near_duplicates"]] = ["near_duplicates"]


class Prepare(Block):
    """How raw rows become interactions, a catalog and user histories."""

    timezone: Zone = "UTC"
    """The shop's time zone, such as `Europe/Berlin`: where a business day begins and ends, and what times without a
    zone mean."""
    lookback_days: int = Field(365, ge=1)
    """Events older than this many days before the day after `ds` are outside the window."""
    min_events_on_ds: int = Field(1, ge=0)
    """Fewer events than this on `ds` itself mean that the input has not arrived (exit 10)."""
    incremental: bool = True
    """Read only files that no earlier night has read, where the source allows it; the tables are the same."""
    profile: bool = True
    """Whether a page that shows the inputs is written to `profiles/<ds>.html` below the lake."""
    id_case: Literal["keep", "upper", "lower"] = "keep"
    """Case policy of user and item ids, after trimming and NFKC."""
    placeholder_user_ids: list[str] = [
        *("nan", "null", "none", "nil", "undefined", "(not set)", "(none)", "(null)", "n/a", "#n/a", r"\n", "-", "--"),
        *("unknown", "anonymous", "guest", "[object object]"),
    ]
    """What stands for nobody in a user id, whatever its case: such events are quarantined as `placeholder_user_id`,
    reviews lose the id."""
    pseudonymize_with: str = Field("", pattern=r"^([A-Za-z_]\w*)?$")
    """Name of an environment variable with a secret key: user ids, and the session and event ids that may be made of
    them, become keyed hashes (HMAC-SHA-256) before anything is written; empty: they stay as they are."""
    catalog_grace_hours: float = Field(24.0, ge=0, le=8760)
    """A catalog row written so long after the end of `ds` is used where the item has no earlier one: a shop that
    overwrites its catalog touches items between midnight and the night's run. 0: nothing later is ever used."""
    item_duplicates: Literal["error", "latest", "most_frequent"] = "error"
    """Which of several different catalog rows of one item id is right; identical rows are always merged."""
    history_columns: list[Literal["title", "description", "category", "brand", "price", "currency", "available"]] = (
        Field(["title", "description", "category", "brand", "price"], min_length=1)
    )
    """Catalog columns whose changes over time are kept in `item_history`."""
    near_duplicates: Literal["link", "keep"] = "link"
    """`link`: items whose titles differ only in case, blanks and punctuation are one: events go to the canonical one
    (the oldest), and only that one is recommended."""
    non_product_ids: Pattern = ""
    """Items and events whose canonical item id this finds are no products (postage, fees): quarantined as
    `non_product`."""
    missing: Missing = Missing()
    accounts: Accounts = Accounts()
    event_weights: dict[EventType, float] = {
        "view": 0.2,
        "click": 0.3,
        "favorite": 0.6,
        "cart": 0.6,
        "rating": 0.5,
        "purchase": 1.0,
    }
    """How strongly an event type shows interest; types not named weigh nothing."""
    half_life_days: float = Field(90.0, gt=0)
    """An interaction this many days old counts half."""
    history_length: int = Field(50, ge=1, le=1000)
    """Number of most recent distinct items kept of a user."""
    min_rating: float = 3.0
    """A rating below this is no sign of liking and weighs nothing."""
    session_gap_minutes: float = Field(30.0, gt=0)
    """Where the log has no session id, a pause longer than this begins a new session."""
    duplicate_click_seconds: float = Field(5.0, ge=0)
    """A click on the item that the same user clicked at most so long before is quarantined as `duplicate_click`."""
    plausible_from: Day = "2000-01-01"
    """Events before this date, and those more than a year after they were received (or after `ds`, where the log does
    not say), are quarantined as `clock_error`."""
    clock_tolerance_minutes: float = Field(10.0, ge=0)
    """An event that claims to be later than it was received, by more than this, is quarantined as `future_event`."""
    late_after_hours: float = Field(24.0, ge=0)
    """An event received so long after it happened is used, and counted as late."""

    @property
    def zone_note(self) -> str:
        """What stands behind a time that people read, such as ` (Europe/Berlin)`; nothing where it is UTC."""
        return "" if self.timezone == "UTC" else f" ({self.timezone})"


_NEED_COLUMN = ("null_share", "null_share_rise", "out_of_range_share", "hours_since_newest", "unread_share")


class Expectation(Block):
    """One declared check of an input table; the verdict is the worst threshold that the value breaks.

    A value on the threshold passes. What cannot be judged (no rows, too few earlier days) passes and is recorded as
    `<check>.to_judge`: how many rows or days there were, and how many it takes.
    """

    check: Literal[
        "rows",
        "rows_to_weekday_median",
        "hours_since_newest",
        "null_share",
        "null_share_rise",
        "out_of_range_share",
        "repeated_share",
        "unmatched_share",
        "quarantined_share",
        "unread_share",
        "reused_id_share",
    ]
    """`rows`; `rows_to_weekday_median`: rows of `ds`, repeats left out, divided by the median of the same weekday of
    the eight weeks before; `hours_since_newest`: from the newest time in `column` to the end of `ds`; `null_share` of
    `column`, among the events that should have it; `null_share_rise`: by how much that exceeds what 90% of the 28 days
    before stayed within; `out_of_range_share`: outside `min` to `max`, among those given; `repeated_share`: rows that
    are copies of another, or, with `column` (a key), whose value another row of the scope has; `unmatched_share`: item
    ids not in the catalog, among those given; `quarantined_share`, for the reason `column` where one is given;
    `unread_share`: values of `column` that were given and could not be read as its type; `reused_id_share`: events
    whose event_id stands on other events of the user too."""
    column: str = ""
    scope: Literal["day", "day_before", "window"] = "day"
    """`day`: rows of `ds`; `day_before`: of the newest day before it that has rows; `window`: all rows within
    `lookback_days`. Items and reviews have no days: all their rows count."""
    min: float | None = None
    max: float | None = None
    warn_below: float | None = None
    block_below: float | None = None
    warn_above: float | None = None
    block_above: float | None = None
    min_rows: int = Field(1, ge=1)
    """With fewer rows than this (for the weekday's median: a smaller median) the check is not judged; `rows` always
    is."""
    retry: bool = False
    """Whether a block means that the input is not complete yet (exit 10) rather than wrong (exit 20)."""

    @property
    def name(self) -> str:
        """The check as `quality_metrics` and messages call it, such as `null_share[user_id]`."""
        column = f"[{self.column}]" if self.column else ""
        return f"{self.check}{column}" + ("" if self.scope == "day" else f"@{self.scope}")

    def fault_in(self, table: str) -> str:
        """Say what is wrong with this expectation of `table`, beginning with the key at fault; "" where nothing is."""
        return self._column_fault(table) or self._scope_fault(table) or self._range_fault() or self._threshold_fault()

    def _column_fault(self, table: str) -> str:
        if not self.column:
            needs = self.check in _NEED_COLUMN
            return f"column: {self.check} needs one" if needs else ""
        if self.check in ("rows", "rows_to_weekday_median", "reused_id_share"):
            return f"column: {self.check} takes none (got {self.column!r})"
        if self.check == "unmatched_share" and self.column != "item_id":
            return f"column: unmatched_share is about item_id (got {self.column!r})"
        if self.check == "quarantined_share":
            is_reason = re.fullmatch(r"[a-z]\w*", self.column) is not None
            return "" if is_reason else f"column: {self.column!r} is no quarantine reason, such as unknown_item"
        return self._type_fault(Inputs.TYPES[table], table)

    def _type_fault(self, types: Mapping[str, str], table: str) -> str:
        if self.column not in types:
            return f"column: {table} has no column {self.column!r}; known: {', '.join(types)}"
        wanted = {"out_of_range_share": ("double", "int"), "hours_since_newest": ("timestamp",)}.get(self.check)
        if wanted and types[self.column] not in wanted:
            return f"column: {self.check} needs a {' or '.join(wanted)}; {self.column!r} is a {types[self.column]}"
        if self.check == "repeated_share" and types[self.column].startswith("map"):
            return f"column: {self.column!r} is a map, and maps cannot be compared"
        return ""

    def _scope_fault(self, table: str) -> str:
        if self.check in ("rows_to_weekday_median", "null_share_rise"):
            if table != "events":
                return f"check: {self.check} compares days, and only events have days"
            if self.scope != "day":
                return f"scope: {self.check} is about the day (got {self.scope!r})"
        if self.check == "reused_id_share" and table != "events":
            return "check: reused_id_share is about events"
        if self.check == "unmatched_share" and table == "items":
            return "check: unmatched_share is about events and reviews; items are the catalog"
        if self.check == "repeated_share" and self.column and table == "events" and self.scope != "day":
            return f"scope: repeated_share of a column is counted within the day (got {self.scope!r})"
        return ""

    def _range_fault(self) -> str:
        if self.check != "out_of_range_share":
            given = [key for key in ("min", "max") if getattr(self, key) is not None]
            return f"{given[0]}: only out_of_range_share has a range" if given else ""
        if self.min is None and self.max is None:
            return "min: out_of_range_share needs min, max or both"
        if self.min is not None and self.max is not None and self.min > self.max:
            return f"min: {self.min:g} is above max, {self.max:g}"
        return ""

    def _threshold_fault(self) -> str:
        keys = ("warn_below", "block_below", "warn_above", "block_above")
        given = {key: value for key in keys if (value := getattr(self, key)) is not None}
        if not given:
            return f"check: {self.check} has no threshold; give one of {', '.join(keys)}"
        if "share" in self.check:
            for key, value in given.items():
                if not -1 <= value <= 1:
                    return f"{key}: {self.check} is a share, at most 1 (got {value:g})"
        if given.get("warn_below", math.inf) < given.get("block_below", -math.inf):
            return "warn_below: is under block_below, so that it never warns"
        if given.get("warn_above", -math.inf) > given.get("block_above", math.inf):
            return "warn_above: is over block_above, so that it never warns"
        return ""
