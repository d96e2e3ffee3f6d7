"""What an item is called and how it is described, in its own language."""

import re
from collections.abc import Iterator
from typing import Any, Final

import numpy as np

from recsys_batch.demo.catalog import VOCABULARIES, Catalog
from recsys_batch.demo.dirt import MISSING_IMAGE_RATE, add_html, near_duplicate_title
from recsys_batch.demo.draws import IntArray, hashes, uniform
from recsys_batch.demo.spec import DAY_MS, ShopSpec, render_ms
from recsys_batch.demo.vocabulary import Leaf

_SMALL_WORDS: Final = frozenset({"and", "for", "of", "with", "in"})
_ARTICLE: Final = re.compile(r"\b([Aa]) (?=[aeiouAEIO])")
_STALE_DAYS: Final = (5, 60)


def item_name(item: int) -> str:
    """Write the clean item id."""
    return f"sku-{item + 1:05d}"


def words_of(catalog: Catalog, item: int) -> dict[str, str]:
    """Return the words of an item: brand, product and the values a, b, c of its three attributes."""
    leaf = leaf_of(catalog, item)
    brands = VOCABULARIES[catalog.domain[item]].brands[leaf.department]
    values = [axis[1][chosen] for axis, chosen in zip(leaf.axes, catalog.axes[item].tolist(), strict=True)]
    return {
        "brand": brands[catalog.brand[item]],
        "product": leaf.products[catalog.product[item]],
        **dict(zip("abc", values, strict=True)),
    }


def leaf_of(catalog: Catalog, item: int) -> Leaf:
    """Return the item's leaf category in the item's language."""
    return VOCABULARIES[int(catalog.domain[item])].leaves[int(catalog.leaf[item])]


def write_title(catalog: Catalog, item: int, points: tuple[float, float]) -> str:
    """Compose the title; the two numbers in [0, 1) choose how a near-duplicate departs from its original."""
    words = words_of(catalog, item)
    edition = int(catalog.edition[item])
    if catalog.domain[item] == 0:
        title = f"{words['brand']} {_capitalize(words['a'])} {_capitalize(words['product'])}, "
        title += f"{_capitalize(words['b'])}, {words['c']}" + (f", No. {edition + 1}" if edition else "")
    else:
        title = f"{words['brand']}{words['a']}{words['product']} {words['b']} {words['c']}"
        title += f" {edition + 1}代" if edition else ""
    return near_duplicate_title(title, points[1]) if catalog.canonical[item] != item else title


def write_description(catalog: Catalog, item: int, seed: int) -> str:
    """Compose one to four sentences: what it is, what it does well, and a closing word."""
    leaf, words = leaf_of(catalog, item), words_of(catalog, item)
    draws = [int(value) for value in hashes(seed, "item/description", item, np.arange(6)) >> np.uint64(40)]
    lead = leaf.lead.format(**words, use=leaf.uses[draws[0] % len(leaf.uses)])
    sentences = [lead[0].upper() + lead[1:]]
    features = list(leaf.features)
    for draw in draws[1 : 1 + draws[3] % 3]:
        sentences.append(features.pop(draw % len(features)))
    if draws[4] % 3 == 0:
        closings = VOCABULARIES[catalog.domain[item]].closings
        sentences.append(closings[draws[5] % len(closings)].format(brand=words["brand"]))
    if catalog.domain[item] == 0:
        return fix_articles(" ".join(sentences))
    return "".join(sentences)


def write_items(spec: ShopSpec, catalog: Catalog, items: IntArray) -> Iterator[dict[str, Any]]:
    """Yield the catalog's rows for these items: one each, two where the rows conflict."""
    seed = spec.seed
    points = uniform(seed, "item/text", items[:, None], np.arange(4)[None, :]).tolist()
    for item, point in zip(items.tolist(), points, strict=True):
        row = _write_item(spec, catalog, item, point)
        if catalog.faults.conflicting_row[item]:
            yield _write_stale(row, catalog, item, point)
        yield row


def _write_item(spec: ShopSpec, catalog: Catalog, item: int, point: list[float]) -> dict[str, Any]:
    faults, leaf, words = catalog.faults, leaf_of(catalog, item), words_of(catalog, item)
    vocabulary = VOCABULARIES[catalog.domain[item]]
    description = write_description(catalog, item, spec.seed)
    names = [axis[0] for axis in leaf.axes]
    return {
        "item_id": item_name(item),
        "title": write_title(catalog, item, (point[0], point[1])),
        "description": add_html(description, point[2]) if faults.html_description[item] else description,
        "category": None if faults.missing_category[item] else leaf.path,
        "brand": None if faults.missing_brand[item] else words["brand"],
        "price": None if faults.missing_price[item] else float(catalog.price[item]),
        "currency": vocabulary.currency,
        "attributes": list(zip(names, (words[letter] for letter in "abc"), strict=True)),
        "image_uri": None if point[3] < MISSING_IMAGE_RATE else f"https://img.example.com/{item_name(item)}.jpg",
        "available": bool(catalog.available[item]),
        "domain": vocabulary.domain,
        "updated_at": render_ms(int(catalog.updated_at[item])),
    }


def _write_stale(row: dict[str, Any], catalog: Catalog, item: int, point: list[float]) -> dict[str, Any]:
    """Return the older row that conflicts with an item's right one."""
    low, high = _STALE_DAYS
    age = int((low + (high - low) * point[0]) * DAY_MS)
    stale_title = words_of(catalog, item)["product"] + (" (old listing)" if catalog.domain[item] == 0 else "（旧款）")
    return {
        **row,
        "title": stale_title[0].upper() + stale_title[1:],
        "price": round(float(catalog.price[item]) * (1.15 + 0.3 * point[1]), 2),
        "available": not row["available"],
        "updated_at": render_ms(int(catalog.updated_at[item]) - age),
    }


def fix_articles(text: str) -> str:
    """Write `an` before vowels."""
    return _ARTICLE.sub(r"\1n ", text)


def _capitalize(words: str) -> str:
    return " ".join(
        word if word in _SMALL_WORDS or not word[0].isalpha() else word[0].upper() + word[1:]
        for word in words.split(" ")
    )
