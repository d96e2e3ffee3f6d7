"""When users come and what for: sessions with an intent, and the page of items that each session shows."""

from dataclasses import dataclass
from typing import Final

import numpy as np

from recsys_batch.demo.catalog import NUM_LEAVES, Catalog
from recsys_batch.demo.draws import BoolArray, FloatArray, IntArray, gumbel, integers, normal, uniform, weighted
from recsys_batch.demo.spec import DAY_MS, ShopSpec
from recsys_batch.demo.tastes import PERSON, Tastes, drifted_weights
from recsys_batch.demo.vocabulary import PRODUCTS

SEARCH_SESSION: Final = 0
BROWSE_SESSION: Final = 1
DIRECT_SESSION: Final = 2  # from a link or a bookmark: views without impressions
SESSION_SHARES: Final = (0.50, 0.32, 0.18)
EXPLORATION: Final = 0.12  # share of sessions outside the user's interests
OTHER_LANGUAGE_SHARE: Final = 0.04  # of the sessions of users with one language
WEEKEND_BOOST: Final = 1.35
MAX_PAGE: Final = 8
MIN_PAGE: Final = 4
CANDIDATES: Final = 14
ON_QUERY_SHARE: Final = 0.8  # of a result page's candidates are the product that was searched for

BRAND_MATCH: Final = 1.6
STYLE_MATCH: Final = 1.1
PRODUCT_MATCH: Final = 0.8
QUALITY: Final = 0.45
PRICE_DISTANCE: Final = 1.8
_OFF_TASTE: Final = -0.6


@dataclass(frozen=True)
class Sessions:
    """One entry a session; `row` is the user's row in the tastes."""

    row: IntArray
    user: IntArray
    number: IntArray
    kind: IntArray
    start: IntArray  # milliseconds since 1970
    domain: IntArray
    interest: IntArray  # -1 where the session explores
    leaf: IntArray
    product: IntArray

    def __len__(self) -> int:
        """Return the number of sessions."""
        return len(self.row)


@dataclass(frozen=True)
class Pages:
    """What each session shows, best first: sessions x 8; `shown` is false beyond the page's end."""

    item: IntArray
    shown: BoolArray
    appeal: FloatArray  # how well the item fits the user, around 0


def draw_sessions(spec: ShopSpec, tastes: Tastes) -> Sessions:
    """Draw the sessions of people and of test accounts, in the order of users."""
    seed = spec.seed
    row = np.repeat(np.arange(len(tastes)), tastes.num_sessions)
    first = np.cumsum(tastes.num_sessions) - tastes.num_sessions
    number = np.arange(len(row)) - first[row]
    user = tastes.user[row]
    start = _draw_starts(spec, tastes, row, number)
    progress = (start - spec.start_ms) / (spec.num_days * DAY_MS)
    weights = np.cumsum(drifted_weights(tastes, row, progress), axis=1)
    points = uniform(seed, "session/interest", user, number)[:, None]
    interest = np.minimum((points >= weights).sum(axis=1), 2)
    explores = uniform(seed, "session/explores", user, number) < EXPLORATION
    explores |= tastes.account[row] != PERSON
    interest = np.where(explores | (tastes.leaf[row, interest] < 0), -1, interest)
    anywhere = integers(seed, "session/anywhere", NUM_LEAVES, user, number)
    language = tastes.language[row]
    coin = uniform(seed, "session/language", user, number)
    other = (coin < OTHER_LANGUAGE_SHARE).astype(np.int64)
    return Sessions(
        row=row,
        user=user,
        number=number,
        kind=weighted(uniform(seed, "session/kind", user, number), SESSION_SHARES),
        start=start,
        domain=np.where(language == 2, (coin < 0.5).astype(np.int64), np.abs(language - other)),
        interest=interest,
        leaf=np.where(interest < 0, anywhere, tastes.leaf[row, np.maximum(interest, 0)]),
        product=integers(seed, "session/product", PRODUCTS, user, number),
    )


def _draw_starts(spec: ShopSpec, tastes: Tastes, row: IntArray, number: IntArray) -> IntArray:
    user = tastes.user[row]
    days = np.arange(spec.num_days)
    weekend = (days + spec.start_day + 3) % 7 >= 5  # 1970-01-01 was a Thursday
    running = np.concatenate([[0.0], np.cumsum(np.where(weekend, WEEKEND_BOOST, 1.0))])
    begin = running[tastes.joined[row]]
    points = begin + uniform(spec.seed, "session/day", user, number) * (running[-1] - begin)
    day = np.clip(np.searchsorted(running, points, side="right") - 1, 0, spec.num_days - 1)
    hour = (tastes.hour[row] + 2.5 * normal(spec.seed, "session/hour", user, number)) % 24
    starts: IntArray = spec.start_ms + day * DAY_MS + (hour * 3_600_000).astype(np.int64)
    return starts


def draw_pages(spec: ShopSpec, catalog: Catalog, tastes: Tastes, sessions: Sessions) -> Pages:
    """Draw candidates by popularity and show those that a good but imperfect engine would put first."""
    seed = spec.seed
    slots = np.arange(CANDIDATES)[None, :]
    user, number = sessions.user[:, None], sessions.number[:, None]
    on_query = uniform(seed, "page/query", user, number, slots) < ON_QUERY_SHARE
    product = np.where(on_query & (sessions.kind == SEARCH_SESSION)[:, None], sessions.product[:, None], -1)
    shape = product.shape
    item = catalog.index.draw(
        uniform(seed, "page/item", user, number, slots),
        np.broadcast_to(sessions.domain[:, None], shape),
        np.broadcast_to(sessions.leaf[:, None], shape),
        product,
    )
    appeal = _measure_appeal(catalog, tastes, sessions, item)
    score = 0.6 * appeal + gumbel(seed, "page/rank", user, number, slots)
    repeated = np.zeros(shape, dtype=np.bool_)
    for slot in range(1, CANDIDATES):
        repeated[:, slot] = (item[:, :slot] == item[:, slot : slot + 1]).any(axis=1)
    score = np.where(repeated, -np.inf, score)
    best = np.argsort(-score, axis=1, kind="stable")[:, :MAX_PAGE]
    length = MIN_PAGE + integers(seed, "page/length", MAX_PAGE - MIN_PAGE + 1, sessions.user, sessions.number)
    direct = 1 + integers(seed, "page/direct", 3, sessions.user, sessions.number)
    length = np.where(sessions.kind == DIRECT_SESSION, direct, length)
    available = (~repeated).sum(axis=1)
    return Pages(
        item=np.take_along_axis(item, best, axis=1),
        shown=np.arange(MAX_PAGE)[None, :] < np.minimum(length, available)[:, None],
        appeal=np.take_along_axis(appeal, best, axis=1),
    )


def _measure_appeal(catalog: Catalog, tastes: Tastes, sessions: Sessions, item: IntArray) -> FloatArray:
    """Return how well items (sessions x n) fit the tastes of the session's user."""
    interest = np.maximum(sessions.interest, 0)
    cares = sessions.interest >= 0
    brand = tastes.brand[sessions.row, interest][:, None]
    style = tastes.style[sessions.row, interest][:, None]
    likes = BRAND_MATCH * (catalog.brand[item] == brand) + STYLE_MATCH * (catalog.axes[item, 0] == style)
    searched = (sessions.kind == SEARCH_SESSION)[:, None] & (catalog.product[item] == sessions.product[:, None])
    distance = np.abs(catalog.price_level[item] - tastes.price_level[sessions.row][:, None])
    appeal: FloatArray = (
        np.where(cares[:, None], likes, _OFF_TASTE)
        + PRODUCT_MATCH * searched
        + QUALITY * catalog.quality[item]
        - PRICE_DISTANCE * distance
    )
    return appeal
