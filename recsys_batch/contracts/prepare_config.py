"""The configuration of `prepare`: how raw rows become interactions, a catalog, user histories and datasets."""

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from recsys_batch.contracts.block import Block, EventType, Share


def _compiles(pattern: str) -> str:
    try:
        re.compile(pattern)
    except re.error as error:
        raise ValueError(f"{pattern!r} is not a regular expression: {error}") from None
    return pattern


Pattern = Annotated[str, AfterValidator(_compiles)]
"""A regular expression that is searched for; empty: none."""


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

    lookback_days: int = Field(365, ge=1)
    """Events older than this many days before the day after `ds` are outside the window."""
    min_events_on_ds: int = Field(1, ge=0)
    """Fewer events than this on `ds` itself mean that the input has not arrived (exit 10)."""
    incremental: bool = True
    """Read only files that no earlier night has read, where the source allows it; the tables are the same."""
    id_case: Literal["keep", "upper", "lower"] = "keep"
    """Case policy of user and item ids, after trimming and NFKC."""
    pseudonymize_with: str = Field("", pattern=r"^([A-Za-z_]\w*)?$")
    """Name of an environment variable with a secret key: user ids become keyed hashes (HMAC-SHA-256) before anything
    is written; empty: they stay as they are."""
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
    plausible_from: str = Field("2000-01-01", pattern=r"^\d{4}-\d{2}-\d{2}$")
    """Events before this date, and those more than a year after they were received (or after `ds`, where the log does
    not say), are quarantined as `clock_error`."""
    clock_tolerance_minutes: float = Field(10.0, ge=0)
    """An event that claims to be later than it was received, by more than this, is quarantined as `future_event`."""
    late_after_hours: float = Field(24.0, ge=0)
    """An event received so long after it happened is used, and counted as late."""


class Expectation(Block):
    """One declared check of an input table; the verdict is the worst threshold that the value breaks."""

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
    ]
    """`rows`; `rows_to_weekday_median`: rows of `ds` divided by the median of the same weekday before;
    `hours_since_newest`: from the newest row to the end of `ds`; `null_share` of `column`; `null_share_rise`: over the
    median of the days before; `out_of_range_share`: not null and outside `min` to `max`; `repeated_share`: rows whose
    `column` (a key) stood in an earlier row, or, without `column`, whole rows; `unmatched_share`: not null and not in
    the catalog; `quarantined_share`, of reason `column` where one is given."""
    column: str = ""
    scope: Literal["day", "window"] = "day"
    """`day`: rows of the business date; `window`: all rows within `lookback_days`."""
    min: float | None = None
    max: float | None = None
    warn_below: float | None = None
    block_below: float | None = None
    warn_above: float | None = None
    block_above: float | None = None
    retry: bool = False
    """Whether a block means that the input is not complete yet (exit 10) rather than wrong (exit 20)."""
