"""What only the generator knows: the users' tastes, the items' quality, and where every fault was planted."""

from typing import Any, Final

import numpy as np
import pyarrow as pa

from recsys_batch.demo.behavior import EXAMINATION, draw_events
from recsys_batch.demo.catalog import VOCABULARIES, build_catalog
from recsys_batch.demo.dirt import EVENT_KINDS, ITEM_RATES
from recsys_batch.demo.draws import IntArray
from recsys_batch.demo.eventrows import hex_ids
from recsys_batch.demo.item_text import item_name, words_of
from recsys_batch.demo.reviews import choose_reviews
from recsys_batch.demo.spec import ShopSpec
from recsys_batch.demo.tastes import BOT, LANGUAGES, RESELLER, TEST, Tastes, draw_tastes, user_names

INTEREST_TYPE: Final = pa.struct(
    {
        "leaf": pa.string(),
        "weight": pa.float64(),
        "brands": pa.list_(pa.string()),
        "styles": pa.list_(pa.string()),
    }
)
USERS_SCHEMA: Final = pa.schema(
    {
        "user_id": pa.string(),
        "interests": pa.list_(INTEREST_TYPE),
        "language": pa.string(),
        "price_level": pa.float64(),
        "is_bot": pa.bool_(),
        "is_reseller": pa.bool_(),
        "is_test": pa.bool_(),
    }
)
ITEMS_SCHEMA: Final = pa.schema(
    {
        "item_id": pa.string(),
        "domain": pa.string(),
        "leaf": pa.string(),
        "brand": pa.string(),
        "quality": pa.float64(),
        "popularity": pa.float64(),
        "canonical_item_id": pa.string(),
    }
)
DIRT_SCHEMA: Final = pa.schema({"kind": pa.string(), "table": pa.string(), "key": pa.string()})
POSITION_BIAS_SCHEMA: Final = pa.schema({"position": pa.int32(), "examination": pa.float64()})

_ACCOUNT_KINDS: Final = {BOT: "bot", RESELLER: "reseller", TEST: "test_account"}
_ANONYMOUS: Final = "anonymous_review"
DIRT_KINDS: Final = (*EVENT_KINDS[1:], *_ACCOUNT_KINDS.values(), *ITEM_RATES, _ANONYMOUS)


def make_users(spec: ShopSpec, users: IntArray) -> pa.RecordBatch:
    """Make the truth about these users."""
    tastes = draw_tastes(spec, users)
    rows = [
        {
            "user_id": name,
            "interests": _interests(tastes, row),
            "language": LANGUAGES[tastes.language[row]],
            "price_level": float(tastes.price_level[row]),
            "is_bot": bool(tastes.account[row] == BOT),
            "is_reseller": bool(tastes.account[row] == RESELLER),
            "is_test": bool(tastes.account[row] == TEST),
        }
        for row, name in enumerate(user_names(tastes.user, tastes.account))
    ]
    return pa.RecordBatch.from_pylist(rows, schema=USERS_SCHEMA)


def _interests(tastes: Tastes, row: int) -> list[dict[str, Any]]:
    language = LANGUAGES[tastes.language[row]]
    spoken = [vocabulary for vocabulary in VOCABULARIES if language in (vocabulary.domain, "both")]
    interests = []
    for place, leaf in enumerate(tastes.leaf[row].tolist()):
        if leaf < 0:
            continue
        words = [vocabulary.leaves[leaf] for vocabulary in spoken]
        brand, style = tastes.brand[row, place], tastes.style[row, place]
        brands = [vocabulary.brands[word.department][brand] for vocabulary, word in zip(spoken, words, strict=True)]
        interests.append(
            {
                "leaf": words[0].key,
                "weight": float(tastes.weight[row, place]),
                "brands": brands,
                "styles": [word.axes[0][1][style] for word in words],
            }
        )
    return interests


def make_items(spec: ShopSpec, items: IntArray) -> pa.RecordBatch:
    """Make the truth about these items."""
    catalog = build_catalog(spec)
    rows = [
        {
            "item_id": item_name(item),
            "domain": VOCABULARIES[catalog.domain[item]].domain,
            "leaf": VOCABULARIES[0].leaves[catalog.leaf[item]].key,
            "brand": words_of(catalog, item)["brand"],
            "quality": float(catalog.quality[item]),
            "popularity": float(catalog.popularity[item]),
            "canonical_item_id": item_name(int(catalog.canonical[item])),
        }
        for item in items.tolist()
    ]
    return pa.RecordBatch.from_pylist(rows, schema=ITEMS_SCHEMA)


def make_item_dirt(spec: ShopSpec, items: IntArray) -> pa.RecordBatch:
    """List the faults of these items, by item id."""
    catalog = build_catalog(spec)
    kinds, keys = [], []
    for kind in ITEM_RATES:
        faulty = catalog.canonical[items] != items if kind == "near_duplicate" else getattr(catalog.faults, kind)[items]
        chosen = items[faulty]
        kinds += [kind] * len(chosen)
        keys += [item_name(item) for item in chosen.tolist()]
    return _dirt_rows(kinds, ["items"] * len(kinds), keys)


def make_user_dirt(spec: ShopSpec, users: IntArray) -> pa.RecordBatch:
    """List the faults in these users' events (by event id) and reviews (`item_id|user_id`), and their odd accounts."""
    tastes = draw_tastes(spec, users)
    events = draw_events(spec, build_catalog(spec), tastes)
    faulty = events.take(events.dirt > 0)
    reviews = choose_reviews(spec, events)
    anonymous = reviews.events.take(reviews.anonymous)
    names = user_names(tastes.user, tastes.account)
    authors = np.searchsorted(tastes.user, anonymous.user).tolist()
    odd = [(_ACCOUNT_KINDS[kind], name) for kind, name in zip(tastes.account.tolist(), names, strict=True) if kind]
    kinds = [EVENT_KINDS[code] for code in faulty.dirt.tolist()] + [kind for kind, _ in odd]
    keys = hex_ids(faulty.key, "e") + [name for _, name in odd]
    tables = ["events"] * len(kinds) + ["reviews"] * len(anonymous)
    kinds += [_ANONYMOUS] * len(anonymous)
    keys += [f"{item_name(item)}|{names[row]}" for item, row in zip(anonymous.item.tolist(), authors, strict=True)]
    return _dirt_rows(kinds, tables, keys)


def _dirt_rows(kinds: list[str], tables: list[str], keys: list[str]) -> pa.RecordBatch:
    columns = [pa.array(values, pa.string()) for values in (kinds, tables, keys)]
    return pa.RecordBatch.from_arrays(columns, schema=DIRT_SCHEMA)


def make_position_bias() -> pa.RecordBatch:
    """Make the table of examination probabilities."""
    rows = [{"position": place, "examination": share} for place, share in enumerate(EXAMINATION, start=1)]
    return pa.RecordBatch.from_pylist(rows, schema=POSITION_BIAS_SCHEMA)
