"""What users do in their sessions: the honest event log, before any dirt."""

from dataclasses import dataclass
from typing import Final

import numpy as np

from recsys_batch.demo.catalog import VOCABULARIES, Catalog
from recsys_batch.demo.dirt import BOT_VIEWS, RESELLER_PURCHASES, plant
from recsys_batch.demo.draws import BoolArray, FloatArray, IntArray, integers, normal, uniform
from recsys_batch.demo.eventrows import (
    CART,
    CLICK,
    FAVORITE,
    IMPRESSION,
    PURCHASE,
    RATING,
    RETURN,
    SEARCH,
    UNFAVORITE,
    VIEW,
    EventRows,
    concat_rows,
    pack_key,
)
from recsys_batch.demo.sessions import DIRECT_SESSION, SEARCH_SESSION, Pages, Sessions, draw_pages, draw_sessions
from recsys_batch.demo.spec import DAY_MS, ShopSpec
from recsys_batch.demo.tastes import BOT, RESELLER, Tastes

# How likely a shopper looks at a position at all: the planted position bias.
EXAMINATION: Final = (1.0, 0.80, 0.65, 0.54, 0.45, 0.38, 0.33, 0.29)
CLICK_BIAS: Final = -0.7  # a click needs examination and then sigmoid(bias + appeal)
CART_BIAS: Final = -1.0
PURCHASE_RATE: Final = 0.62  # of carts
FAVORITE_RATE: Final = 0.06  # of views
UNFAVORITE_RATE: Final = 0.15  # of favorites
RETURN_RATE: Final = 0.06  # of purchases
RATING_RATE: Final = 0.35  # of purchases
VIEW_RATE: Final = 0.95  # of clicks

# What is used up and bought again: tea and snacks, care, candles, treats. Of anything else people buy one.
CONSUMABLE_LEAVES: Final = tuple(
    place
    for place, leaf in enumerate(VOCABULARIES[0].leaves)
    if leaf.department in ("food", "beauty") or leaf.key in ("home.candles", "pet.treats", "garden.seeds")
)

BOT_GAP_MS: Final = 7000
_VIEWS_PER_BOT_SESSION: Final = 200
_VISIT_MS: Final = 3_600_000


class _Log:
    """Collects the events of one batch of users."""

    def __init__(self, spec: ShopSpec, sessions: Sessions, item: IntArray) -> None:
        self._spec = spec
        self._sessions = sessions
        self._item = item
        self._parts: list[EventRows] = []

    def add(
        self,
        event_type: int,
        happens: BoolArray,
        time: IntArray,
        *,
        positioned: BoolArray | None = None,
        quantity: IntArray | None = None,
        rating: FloatArray | None = None,
        visit: bool = True,
    ) -> None:
        """Add an event for each true cell of `happens` (sessions x slots), unless it falls after the last day."""
        place, slot = np.nonzero(happens & (time < self._spec.stop_ms))
        count = len(place)
        user, number = self._sessions.user[place], self._sessions.number[place]
        moment = time[place, slot]
        nothing = np.full(count, np.nan)
        at = np.zeros(count, dtype=np.int64) if positioned is None else np.where(positioned[place], slot + 1, 0)
        self._parts.append(
            EventRows(
                user=user,
                session=number if visit else np.full(count, -1, dtype=np.int64),
                item=np.full(count, -1, dtype=np.int64) if event_type == SEARCH else self._item[place, slot],
                type=np.full(count, event_type, dtype=np.int64),
                time=moment,
                arrival=moment // DAY_MS,
                position=at,
                quantity=nothing if quantity is None else quantity[place, slot].astype(np.float64),
                rating=nothing if rating is None else rating[place, slot],
                domain=self._sessions.domain[place],
                key=pack_key(user, number, slot, event_type),
                dirt=np.zeros(count, dtype=np.int64),
            )
        )

    def rows(self) -> EventRows:
        """Return all events added so far."""
        return concat_rows(self._parts)


def draw_events(spec: ShopSpec, catalog: Catalog, tastes: Tastes) -> EventRows:
    """Draw the events of these users, with dirt."""
    people = draw_people_events(spec, catalog, tastes)
    return plant(concat_rows([people, _bot_events(spec, tastes), _reseller_events(spec, catalog, tastes)]), spec)


def draw_people_events(spec: ShopSpec, catalog: Catalog, tastes: Tastes) -> EventRows:
    """Draw the clean events of people and test accounts."""
    sessions = draw_sessions(spec, tastes)
    pages = draw_pages(spec, catalog, tastes, sessions)
    log = _Log(spec, sessions, pages.item)
    viewed, clicked_at = _add_visit(spec, log, sessions, pages)
    orders = _add_orders(spec, log, catalog, sessions, pages, viewed, clicked_at)
    _add_aftermath(spec, log, catalog, sessions, pages, orders)
    rows = log.rows()
    return rows.take(~np.isin(rows.user, tastes.user[(tastes.account == BOT) | (tastes.account == RESELLER)]))


def _cells(spec: ShopSpec, sessions: Sessions, pages: Pages, name: str) -> FloatArray:
    slots = np.arange(pages.item.shape[1])[None, :]
    return uniform(spec.seed, name, sessions.user[:, None], sessions.number[:, None], slots)


def _sigmoid(values: FloatArray) -> FloatArray:
    result: FloatArray = 1.0 / (1.0 + np.exp(-values))
    return result


def _add_visit(spec: ShopSpec, log: _Log, sessions: Sessions, pages: Pages) -> tuple[BoolArray, IntArray]:
    """Add search, impressions, clicks, views and favorites; return the views and when their clicks came."""
    slots = np.arange(pages.item.shape[1], dtype=np.int64)[None, :]
    start = sessions.start[:, None] + 0 * slots
    searches = (sessions.kind == SEARCH_SESSION)[:, None] & (slots == 0)
    log.add(SEARCH, searches, start)
    listed = (sessions.kind != DIRECT_SESSION)[:, None]
    positioned = listed[:, 0]
    log.add(IMPRESSION, pages.shown & listed, start + 400 + 20 * slots, positioned=positioned)
    examined = _cells(spec, sessions, pages, "event/examined") < np.array(EXAMINATION)[None, :]
    liked = _cells(spec, sessions, pages, "event/liked") < _sigmoid(CLICK_BIAS + pages.appeal)
    clicked = pages.shown & listed & examined & liked
    pause = (_cells(spec, sessions, pages, "event/pause") * 12_000).astype(np.int64)
    clicked_at = start + 3000 + 30_000 * slots + pause
    log.add(CLICK, clicked, clicked_at, positioned=positioned)
    viewed = np.where(listed, clicked & (_cells(spec, sessions, pages, "event/view") < VIEW_RATE), pages.shown)
    log.add(VIEW, viewed, clicked_at + 900)
    favorite = viewed & (_cells(spec, sessions, pages, "event/favorite") < FAVORITE_RATE)
    log.add(FAVORITE, favorite, clicked_at + 9000)
    regrets = favorite & (_cells(spec, sessions, pages, "event/unfavorite") < UNFAVORITE_RATE)
    log.add(UNFAVORITE, regrets, clicked_at + _days(spec, sessions, pages, "event/regret", 1, 20), visit=False)
    return viewed, clicked_at


@dataclass(frozen=True)
class _Orders:
    """Purchases: sessions x slots."""

    bought: BoolArray
    time: IntArray
    quantity: IntArray


def _add_orders(
    spec: ShopSpec,
    log: _Log,
    catalog: Catalog,
    sessions: Sessions,
    pages: Pages,
    viewed: BoolArray,
    clicked_at: IntArray,
) -> _Orders:
    """Add carts and purchases; all that a visit buys is bought at its end."""
    wanted = _cells(spec, sessions, pages, "event/cart") < _sigmoid(CART_BIAS + 0.7 * pages.appeal)
    carted = viewed & wanted
    extra = _cells(spec, sessions, pages, "event/quantity")
    quantity = 1 + (extra > 0.85).astype(np.int64) + (extra > 0.95)
    log.add(CART, carted, clicked_at + 14_000, quantity=quantity)
    bought = carted & (_cells(spec, sessions, pages, "event/purchase") < PURCHASE_RATE)
    checkout = (clicked_at * carted).max(axis=1) + 60_000
    checkout += integers(spec.seed, "event/checkout", 120_000, sessions.user, sessions.number)
    time = np.broadcast_to(checkout[:, None], bought.shape)
    bought = _drop_repeats(catalog, sessions, pages, bought, time)
    log.add(PURCHASE, bought, time, quantity=quantity)
    return _Orders(bought, time, quantity)


def _drop_repeats(catalog: Catalog, sessions: Sessions, pages: Pages, bought: BoolArray, time: IntArray) -> BoolArray:
    """Keep a user's first purchase of an item; only what is used up is bought again."""
    place, slot = np.nonzero(bought)
    user, item = sessions.user[place], pages.item[place, slot]
    order = np.lexsort((time[place, slot], item, user))
    again = np.zeros(len(order), dtype=np.bool_)
    again[order[1:]] = (user[order[1:]] == user[order[:-1]]) & (item[order[1:]] == item[order[:-1]])
    again &= ~np.isin(catalog.leaf[item], CONSUMABLE_LEAVES)
    kept = bought.copy()
    kept[place[again], slot[again]] = False
    return kept


def _add_aftermath(
    spec: ShopSpec, log: _Log, catalog: Catalog, sessions: Sessions, pages: Pages, orders: _Orders
) -> None:
    """Add ratings and returns, days after the purchase."""
    returned = orders.bought & (_cells(spec, sessions, pages, "event/return") < RETURN_RATE)
    returned_at = orders.time + _days(spec, sessions, pages, "event/returned", 2, 12)
    log.add(RETURN, returned, returned_at, quantity=orders.quantity, visit=False)
    slots = np.arange(pages.item.shape[1])[None, :]
    mood = normal(spec.seed, "event/mood", sessions.user[:, None], sessions.number[:, None], slots)
    exact = 3.9 + 0.6 * catalog.quality[pages.item] + 0.25 * pages.appeal + 0.6 * mood - 2.2 * returned
    rating = np.clip(np.round(exact), 1.0, 5.0).astype(np.float64)
    rated = orders.bought & (_cells(spec, sessions, pages, "event/rating") < RATING_RATE)
    rated_at = orders.time + _days(spec, sessions, pages, "event/rated", 2, 10)
    log.add(RATING, rated, rated_at, rating=rating, visit=False)


def _days(spec: ShopSpec, sessions: Sessions, pages: Pages, name: str, low: int, high: int) -> IntArray:
    return ((low + (high - low) * _cells(spec, sessions, pages, name)) * DAY_MS).astype(np.int64)


def _bot_events(spec: ShopSpec, tastes: Tastes) -> EventRows:
    """Each bot views one item after the other, every seven seconds, over the whole catalog."""
    bots = tastes.user[tastes.account == BOT]
    user = np.repeat(bots, BOT_VIEWS)
    place = np.tile(np.arange(BOT_VIEWS, dtype=np.int64), len(bots))
    session, slot = place // _VIEWS_PER_BOT_SESSION, place % _VIEWS_PER_BOT_SESSION
    runs = -(-BOT_VIEWS // _VIEWS_PER_BOT_SESSION)
    day = session * (spec.num_days - 1) // runs
    time = spec.start_ms + day * DAY_MS + 3 * _VISIT_MS + slot * BOT_GAP_MS
    stride = max(spec.num_items // BOT_VIEWS, 1)
    item = (integers(spec.seed, "bot/first", spec.num_items, user) + place * stride) % spec.num_items
    return _plain_rows(user, session, item, VIEW, time, slot)


def _reseller_events(spec: ShopSpec, catalog: Catalog, tastes: Tastes) -> EventRows:
    """Each reseller buys the same hundred bestsellers by the dozen."""
    resellers = tastes.user[tastes.account == RESELLER]
    user = np.repeat(resellers, RESELLER_PURCHASES)
    place = np.tile(np.arange(RESELLER_PURCHASES, dtype=np.int64), len(resellers))
    day = place * spec.num_days // RESELLER_PURCHASES
    time = spec.start_ms + day * DAY_MS + 9 * _VISIT_MS + integers(spec.seed, "reseller/time", _VISIT_MS, user, place)
    best = np.argsort(-catalog.popularity, kind="stable")[:100]
    item = best[integers(spec.seed, "reseller/item", len(best), user, place)]
    dozens = 1 + integers(spec.seed, "reseller/quantity", 5, user, place)
    quantity = 12.0 * dozens.astype(np.float64)
    carts = _plain_rows(user, place, item, CART, time - 20_000, 0 * place, quantity)
    return concat_rows([carts, _plain_rows(user, place, item, PURCHASE, time, 0 * place, quantity)])


def _plain_rows(
    user: IntArray,
    session: IntArray,
    item: IntArray,
    event_type: int,
    time: IntArray,
    slot: IntArray,
    quantity: FloatArray | None = None,
) -> EventRows:
    nothing = np.full(len(user), np.nan)
    zero = np.zeros(len(user), dtype=np.int64)
    return EventRows(
        user=user,
        session=session,
        item=item,
        type=zero + event_type,
        time=time,
        arrival=time // DAY_MS,
        position=zero,
        quantity=nothing if quantity is None else quantity,
        rating=nothing,
        domain=zero - 1,
        key=pack_key(user, session, slot, event_type),
        dirt=zero,
    )
