"""The faults of real data: which are planted, how often, and how a clean value is spoiled.

Rates of one-per-event faults are shares of all events; where a fault fits only some events (a missing item id does not
fit a search), the others stay clean. Whatever is planted here is written to `truth/dirt`, except the noise in queries.
"""

import re
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from recsys_batch.demo.draws import BoolArray, IntArray, integers, uniform, weighted
from recsys_batch.demo.eventrows import CLICK, PURCHASE, SEARCH, EventRows, concat_rows
from recsys_batch.demo.spec import DAY_MS, ShopSpec

# Events: share of all events.
EVENT_RATES: Final[dict[str, float]] = {
    "null_user_id": 0.004,  # the tracker lost the user
    "null_item_id": 0.003,  # not a search, and yet no item
    "unknown_item": 0.003,  # an item id that no catalog row has
    "item_id_case": 0.010,  # SKU-00012
    "item_id_padding": 0.005,  # " sku-00012 "
    "item_id_full_width": 0.003,  # sku-０００１２: the same id after NFKC
    "user_id_case": 0.005,  # U0000123
    "user_id_padding": 0.003,  # " u0000123 "
    "user_id_full_width": 0.002,  # u００００１２３
    "late_event": 0.010,  # lands in a `day` one to three days after its event_time
    "future_timestamp": 0.001,  # one to thirty days after the `day` it lands in
    "clock_error": 0.001,  # 1970 or 2099
    "exact_duplicate": 0.005,  # the whole row twice, event_id too
}
# Events: share of clicks; a second click with its own event_id, one to four seconds after the first.
DUPLICATE_CLICK_RATE: Final = 0.03
# Searches: noise, not recorded in the truth.
QUERY_TYPO_RATE: Final = 0.05  # a letter swapped or lost
QUERY_CASE_RATE: Final = 0.08  # shouting, or stray spaces
# Catalog: share of items.
ITEM_RATES: Final[dict[str, float]] = {
    "html_description": 0.05,  # tags and entities
    "missing_brand": 0.03,
    "missing_category": 0.02,
    "missing_price": 0.02,
    "conflicting_row": 0.01,  # a second, older row with another title, price and availability
    "near_duplicate": 0.02,  # another item's title up to case and punctuation
}
UNAVAILABLE_RATE: Final = 0.04  # not a fault: sold out
MISSING_IMAGE_RATE: Final = 0.10  # not a fault: image_uri is nullable
# Reviews: share of reviews.
ANONYMOUS_REVIEW_RATE: Final = 0.02  # null user_id
# Accounts: one for so many users, at least one each, at most five bots and five resellers.
USERS_PER_BOT: Final = 1000
USERS_PER_RESELLER: Final = 2000
USERS_PER_TEST_ACCOUNT: Final = 500
MAX_BOTS: Final = 5
BOT_VIEWS: Final = 2000  # each bot, every seven seconds
RESELLER_PURCHASES: Final = 150  # each reseller, 12 to 60 pieces at a time

EVENT_KINDS: Final = ("", *EVENT_RATES, "duplicate_click")
CODES: Final = {name: code for code, name in enumerate(EVENT_KINDS)}

_SENTENCE_END: Final = re.compile(r"(?<=\.) |(?<=。)")
_FULL_WIDTH: Final = str.maketrans("0123456789", "０１２３４５６７８９")


def plant(rows: EventRows, spec: ShopSpec) -> EventRows:
    """Return the rows with faults: codes set, times and arrival days shifted, duplicates appended."""
    chosen = _choose(rows, spec)
    rows = _shift_times(replace(rows, dirt=chosen), spec)
    exact = rows.take(rows.dirt == CODES["exact_duplicate"])
    spread = uniform(spec.seed, "dirt/click", rows.key)
    clicks = rows.take((rows.dirt == 0) & (rows.type == CLICK) & (spread < DUPLICATE_CLICK_RATE))
    gap = 1000 + integers(spec.seed, "dirt/gap", 3000, clicks.key)
    # The last 4 bits of a key are the event type: 15 is free for the second click.
    again = replace(
        clicks,
        time=clicks.time + gap,
        arrival=clicks.arrival + ((clicks.time + gap) // DAY_MS - clicks.time // DAY_MS),
        key=clicks.key | 15,
        dirt=np.full(len(clicks), CODES["duplicate_click"], dtype=np.int64),
    )
    again = again.take(again.time < spec.stop_ms)
    # One truth row for each planted duplicate: the first copy goes back to clean.
    rows = replace(rows, dirt=np.where(rows.dirt == CODES["exact_duplicate"], 0, rows.dirt))
    return concat_rows([rows, exact, again])


def _choose(rows: EventRows, spec: ShopSpec) -> IntArray:
    rates = list(EVENT_RATES.values())
    points = uniform(spec.seed, "dirt/event", rows.key)
    chosen = weighted(points, [1.0 - sum(rates), *rates])
    about_item = np.isin(chosen, [CODES[name] for name in EVENT_RATES if "item" in name])
    fits = ~(about_item & (rows.type == SEARCH))
    # A purchase whose item cannot be told would leave its return and its review without cause.
    loses_item = np.isin(chosen, [CODES["unknown_item"], CODES["null_item_id"]])
    fits &= ~(loses_item & (rows.type == PURCHASE))
    lag = _lag(rows, spec)
    fits &= ~((chosen == CODES["late_event"]) & (rows.arrival + lag >= spec.start_day + spec.num_days))
    return np.where(fits, chosen, 0)


def _lag(rows: EventRows, spec: ShopSpec) -> IntArray:
    return 1 + integers(spec.seed, "dirt/lag", 3, rows.key)


def _shift_times(rows: EventRows, spec: ShopSpec) -> EventRows:
    arrival = np.where(rows.dirt == CODES["late_event"], rows.arrival + _lag(rows, spec), rows.arrival)
    ahead = (1 + integers(spec.seed, "dirt/ahead", 30, rows.key)) * DAY_MS
    time = np.where(rows.dirt == CODES["future_timestamp"], rows.time + ahead, rows.time)
    epoch = integers(spec.seed, "dirt/epoch", 60_000, rows.key)
    century = 4_070_908_800_000 + rows.time % DAY_MS  # 2099-01-01
    wrong = np.where(uniform(spec.seed, "dirt/wrong", rows.key) < 0.5, epoch, century)
    return replace(rows, time=np.where(rows.dirt == CODES["clock_error"], wrong, time), arrival=arrival)


def spoil_id(clean: str, kind: str) -> str:
    """Write an id as sloppy systems do; trimming, lower case and NFKC undo it."""
    if kind.endswith("_case"):
        return clean.upper()
    if kind.endswith("_padding"):
        return f" {clean} "
    if kind.endswith("_full_width"):
        return clean.translate(_FULL_WIDTH)
    raise ValueError(f"{kind!r} is not a way to spoil an id")


def add_html(text: str, point: float) -> str:
    """Wrap a description in the markup that a shop's editor leaves behind."""
    escaped = text.replace("&", "&amp;").replace("'", "&#39;")
    if point < 0.4:
        return f"<p>{escaped}</p>"
    if point < 0.7:
        return f'<div class="desc"><b>{escaped}</b><br/>&nbsp;</div>'
    sentences = _SENTENCE_END.split(escaped.strip())
    return "<ul>" + "".join(f"<li>{sentence}</li>" for sentence in sentences if sentence) + "</ul>"


def near_duplicate_title(title: str, point: float) -> str:
    """Write a title as a second supplier would: other case and punctuation, the same letters."""
    if point < 0.35:
        return title.upper() if title.upper() != title else f"{title}！"
    if point < 0.7:
        return f"{title.replace(',', ' -')}!" if "," in title else title.replace(" ", "·")
    return f"【{title}】" if not title.isascii() else f"*{title.lower()}*"


@dataclass(frozen=True)
class ItemFaults:
    """Which items have which fault; arrays over all items."""

    html_description: BoolArray
    missing_brand: BoolArray
    missing_category: BoolArray
    missing_price: BoolArray
    conflicting_row: BoolArray


def choose_item_faults(spec: ShopSpec) -> ItemFaults:
    """Draw the catalog's faults; one item can have several."""
    items = np.arange(spec.num_items)
    return ItemFaults(
        **{
            name: uniform(spec.seed, f"dirt/item/{name}", items) < rate
            for name, rate in ITEM_RATES.items()
            if name != "near_duplicate"
        }
    )
