"""The shop's tables as Arrow record batches: names and types of the columns, and how arrays become rows."""

from collections.abc import Iterator
from typing import Any, Final

import numpy as np
import pyarrow as pa

from recsys_batch.contracts.columns import EVENT_TYPES
from recsys_batch.demo.behavior import draw_events
from recsys_batch.demo.catalog import VOCABULARIES, build_catalog
from recsys_batch.demo.dirt import CODES, spoil_id
from recsys_batch.demo.draws import BoolArray, IntArray, integers
from recsys_batch.demo.eventrows import SEARCH, EventRows, hex_ids, pack_key
from recsys_batch.demo.item_text import item_name, write_items
from recsys_batch.demo.queries import write_queries
from recsys_batch.demo.reviews import choose_reviews, write_reviews
from recsys_batch.demo.sessions import draw_sessions
from recsys_batch.demo.spec import ShopSpec, render_ms
from recsys_batch.demo.tastes import Tastes, draw_tastes, user_names

ITEMS_SCHEMA: Final = pa.schema(
    {
        "item_id": pa.string(),
        "title": pa.string(),
        "description": pa.string(),
        "category": pa.string(),
        "brand": pa.string(),
        "price": pa.float64(),
        "currency": pa.string(),
        "attributes": pa.map_(pa.string(), pa.string()),
        "image_uri": pa.string(),
        "available": pa.bool_(),
        "domain": pa.string(),
        "updated_at": pa.string(),
    }
)
EVENTS_SCHEMA: Final = pa.schema(
    {
        "event_id": pa.string(),
        "user_id": pa.string(),
        "item_id": pa.string(),
        "event_type": pa.string(),
        "event_time": pa.timestamp("us", tz="UTC"),
        "query": pa.string(),
        "quantity": pa.float64(),
        "rating": pa.float64(),
        "session_id": pa.string(),
        "position": pa.int32(),
        "domain": pa.string(),
        "day": pa.date32(),
    }
)
REVIEWS_SCHEMA: Final = pa.schema(
    {
        "item_id": pa.string(),
        "user_id": pa.string(),
        "rating": pa.float64(),
        "text": pa.string(),
        "review_time": pa.string(),
    }
)


def make_items(spec: ShopSpec, items: IntArray) -> pa.RecordBatch:
    """Make the catalog rows of these items."""
    rows: list[dict[str, Any]] = list(write_items(spec, build_catalog(spec), items))
    return pa.RecordBatch.from_pylist(rows, schema=ITEMS_SCHEMA)


def make_events(spec: ShopSpec, users: IntArray) -> pa.RecordBatch:
    """Make the event rows of these users."""
    tastes = draw_tastes(spec, users)
    rows = draw_events(spec, build_catalog(spec), tastes)
    domains = pa.array([vocabulary.domain for vocabulary in VOCABULARIES])
    columns = [
        pa.array(hex_ids(rows.key, "e"), pa.string()),
        _user_ids(tastes, rows),
        _item_ids(spec, rows),
        pa.array(EVENT_TYPES).take(pa.array(rows.type)),
        pa.array(rows.time * 1000, pa.timestamp("us", tz="UTC")),
        _queries(spec, tastes, rows),
        pa.array(rows.quantity, mask=np.isnan(rows.quantity)),
        pa.array(rows.rating, mask=np.isnan(rows.rating)),
        _session_ids(rows),
        pa.array(rows.position.astype(np.int32), mask=rows.position == 0),
        domains.take(pa.array(rows.domain, mask=rows.domain < 0)),
        pa.array(rows.arrival.astype(np.int32)).cast(pa.date32()),
    ]
    return pa.RecordBatch.from_arrays(columns, schema=EVENTS_SCHEMA)


def make_reviews(spec: ShopSpec, users: IntArray) -> pa.RecordBatch:
    """Make the reviews that these users wrote."""
    tastes, catalog = draw_tastes(spec, users), build_catalog(spec)
    reviews = choose_reviews(spec, draw_events(spec, catalog, tastes))
    events = reviews.events
    names = user_names(tastes.user, tastes.account)
    columns = [
        pa.array([item_name(item) for item in events.item.tolist()], pa.string()),
        pa.array(names, pa.string()).take(pa.array(np.searchsorted(tastes.user, events.user), mask=reviews.anonymous)),
        pa.array(events.rating),
        pa.array(write_reviews(spec, catalog, reviews), pa.string()),
        pa.array([render_ms(time + 60_000) for time in events.time.tolist()], pa.string()),
    ]
    return pa.RecordBatch.from_arrays(columns, schema=REVIEWS_SCHEMA)


def _user_ids(tastes: Tastes, rows: EventRows) -> pa.Array:
    names = user_names(tastes.user, tastes.account)
    place = np.searchsorted(tastes.user, rows.user)
    return _spoil_ids(names, place, rows.dirt, "user_id", rows.dirt == CODES["null_user_id"])


def _item_ids(spec: ShopSpec, rows: EventRows) -> pa.Array:
    gone = spec.num_items + 100 + integers(spec.seed, "dirt/gone", 500, rows.key)
    item = np.where(rows.dirt == CODES["unknown_item"], gone, rows.item)
    distinct, place = np.unique(item, return_inverse=True)
    names = [item_name(index) for index in distinct.tolist()]
    missing = (rows.type == SEARCH) | (rows.dirt == CODES["null_item_id"])
    return _spoil_ids(names, place, rows.dirt, "item_id", missing)


def _spoil_ids(names: list[str], place: IntArray, dirt: IntArray, column: str, missing: BoolArray) -> pa.Array:
    """Return names[place], spoiled where the dirt says so and null where missing."""
    names, place = list(names), place.astype(np.int64)
    for kind in (f"{column}_case", f"{column}_padding", f"{column}_full_width"):
        for row in np.flatnonzero(dirt == CODES[kind]).tolist():
            names.append(spoil_id(names[place[row]], kind))
            place[row] = len(names) - 1
    return pa.array(names, pa.string()).take(pa.array(place, mask=missing))


def _queries(spec: ShopSpec, tastes: Tastes, rows: EventRows) -> pa.Array:
    sessions = draw_sessions(spec, tastes)
    first = np.cumsum(tastes.num_sessions) - tastes.num_sessions
    searches = np.flatnonzero(rows.type == SEARCH)
    chosen = first[np.searchsorted(tastes.user, rows.user[searches])] + rows.session[searches]
    place = np.zeros(len(rows), dtype=np.int64)
    place[searches] = np.arange(len(searches))
    texts = pa.array(write_queries(spec.seed, tastes, sessions, chosen), pa.string())
    return texts.take(pa.array(place, mask=rows.type != SEARCH))


def _session_ids(rows: EventRows) -> pa.Array:
    keys, place = np.unique(pack_key(rows.user, np.maximum(rows.session, 0), 0 * rows.user, 0), return_inverse=True)
    return pa.array(hex_ids(keys, "s"), pa.string()).take(pa.array(place, mask=rows.session < 0))


def slices(ids: IntArray, size: int) -> Iterator[IntArray]:
    """Cut ids into pieces that are small enough to hold in memory."""
    for start in range(0, len(ids), size):
        yield ids[start : start + size]
