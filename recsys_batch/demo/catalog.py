"""The catalog as arrays: which item is what, at what price, how good and how popular. Words come from item_text."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np

from recsys_batch.demo.dirt import ITEM_RATES, UNAVAILABLE_RATE, ItemFaults, choose_item_faults
from recsys_batch.demo.draws import BoolArray, FloatArray, IntArray, hashes, integers, normal, uniform
from recsys_batch.demo.spec import DAY_MS, ShopSpec
from recsys_batch.demo.vocabulary import AXIS_SIZES, BRANDS, PRODUCTS, Vocabulary
from recsys_batch.demo.vocabulary_en import ENGLISH
from recsys_batch.demo.vocabulary_zh import CHINESE

VOCABULARIES: Final[tuple[Vocabulary, ...]] = (ENGLISH, CHINESE)
ENGLISH_SHARE: Final = 0.6
NUM_LEAVES: Final = len(ENGLISH.leaves)
POPULARITY_EXPONENT: Final = 0.7
_COMBINATIONS: Final = (BRANDS, PRODUCTS, *AXIS_SIZES)


@dataclass(frozen=True)
class Catalog:
    """One entry an item. `axes` is items x 3: the value chosen on each of the leaf's axes."""

    domain: IntArray
    leaf: IntArray
    brand: IntArray
    product: IntArray
    axes: IntArray
    edition: IntArray  # 0, or how often the same combination came before: it is then named in the title
    quality: FloatArray  # standard normal
    popularity: FloatArray  # sums to 1
    price: FloatArray
    price_level: FloatArray  # 0 to 1 within the leaf
    available: BoolArray
    updated_at: IntArray  # milliseconds since 1970, before the first day
    canonical: IntArray  # the item itself, or the one that a near-duplicate repeats
    faults: ItemFaults
    index: "BucketIndex"

    def __len__(self) -> int:
        """Return the number of items."""
        return len(self.leaf)


@dataclass(frozen=True)
class BucketIndex:
    """Items sorted by language, leaf and product, with their running popularity: to draw from one bucket at once."""

    order: IntArray
    running: FloatArray
    product_edges: IntArray  # bucket b holds order[product_edges[b] : product_edges[b + 1]]

    def draw(self, points: FloatArray, domain: IntArray, leaf: IntArray, product: IntArray) -> IntArray:
        """Turn numbers in [0, 1) into items, by popularity; product -1 or one without items means the whole leaf."""
        first = (domain * NUM_LEAVES + leaf) * PRODUCTS
        low = np.where(product >= 0, self.product_edges[first + product], 0)
        high = np.where(product >= 0, self.product_edges[first + product + 1], 0)
        empty = low == high
        low = np.where(empty, self.product_edges[first], low)
        high = np.where(empty, self.product_edges[first + PRODUCTS], high)
        targets = self.running[low] + points * (self.running[high] - self.running[low])
        places = np.clip(np.searchsorted(self.running, targets, side="right") - 1, low, high - 1)
        return self.order[places]


@lru_cache(maxsize=2)
def build_catalog(spec: ShopSpec) -> Catalog:
    """Build the catalog's arrays; the same in every process that has the same arguments."""
    items = np.arange(spec.num_items)
    domain, leaf, place = _deal_leaves(spec)
    parts, edition = _deal_combinations(spec, domain, leaf, place)
    canonical = _choose_canonical(spec)
    quality = normal(spec.seed, "item/quality", items)
    popularity = _draw_popularity(spec, quality)
    level, price = _draw_prices(spec, domain, leaf, quality)
    # What a near-duplicate repeats; popularity, availability and price are its own.
    domain, leaf, edition, quality = domain[canonical], leaf[canonical], edition[canonical], quality[canonical]
    parts = parts[canonical]
    level = level[canonical]
    price = np.where(canonical == items, price, price[canonical])
    age = 1 + integers(spec.seed, "item/age", 300, items)
    return Catalog(
        domain=domain,
        leaf=leaf,
        brand=parts[:, 0],
        product=parts[:, 1],
        axes=parts[:, 2:],
        edition=edition,
        quality=quality,
        popularity=popularity,
        price=price,
        price_level=level,
        available=uniform(spec.seed, "item/available", items) >= UNAVAILABLE_RATE,
        updated_at=spec.start_ms - age * DAY_MS + integers(spec.seed, "item/clock", DAY_MS // 1000, items) * 1000,
        canonical=canonical,
        faults=choose_item_faults(spec),
        index=_index(domain, leaf, parts[:, 1], popularity),
    )


def _deal_leaves(spec: ShopSpec) -> tuple[IntArray, IntArray, IntArray]:
    """Deal shuffled items to (language, leaf) in exact proportion; also the item's place within its hand."""
    weights = np.exp(0.35 * normal(spec.seed, "leaf/size", np.arange(2)[:, None], np.arange(NUM_LEAVES)[None, :]))
    shares = weights / weights.sum(axis=1, keepdims=True) * np.array([[ENGLISH_SHARE], [1 - ENGLISH_SHARE]])
    # Every hand gets one item before the rest is dealt by weight.
    hands = shares.size
    dealt = np.floor(np.cumsum(shares.ravel()) * (spec.num_items - hands)).astype(np.int64)
    edges = dealt + np.arange(1, hands + 1)
    edges[-1] = spec.num_items
    shuffled = np.argsort(hashes(spec.seed, "item/deal", np.arange(spec.num_items)), kind="stable")
    hand_of_slot = np.searchsorted(edges, np.arange(spec.num_items), side="right")
    starts = np.concatenate([[0], edges[:-1]])
    hand = np.empty(spec.num_items, dtype=np.int64)
    place = np.empty(spec.num_items, dtype=np.int64)
    hand[shuffled] = hand_of_slot
    place[shuffled] = np.arange(spec.num_items) - starts[hand_of_slot]
    return hand // NUM_LEAVES, hand % NUM_LEAVES, place


def _deal_combinations(spec: ShopSpec, domain: IntArray, leaf: IntArray, place: IntArray) -> tuple[IntArray, IntArray]:
    """Give the n-th item of a leaf the n-th of its shuffled combinations, so no two share one before all are used."""
    size = int(np.prod(_COMBINATIONS))
    hands = np.arange(2 * NUM_LEAVES)[:, None]
    shuffled = np.argsort(hashes(spec.seed, "leaf/shuffle", hands, np.arange(size)[None, :]), axis=1, kind="stable")
    combination = shuffled[domain * NUM_LEAVES + leaf, place % size]
    parts = np.stack(np.unravel_index(combination, _COMBINATIONS), axis=1).astype(np.int64)
    return parts, place // size


def _choose_canonical(spec: ShopSpec) -> IntArray:
    items = np.arange(spec.num_items)
    repeats = uniform(spec.seed, "item/repeats", items) < ITEM_RATES["near_duplicate"]
    target = integers(spec.seed, "item/repeated", spec.num_items, items)
    repeats &= ~repeats[target] & (target != items)
    # One copy of an item at most: two copies could get the same title.
    _, first = np.unique(np.where(repeats, target, -1 - items), return_index=True)
    only = np.zeros(spec.num_items, dtype=np.bool_)
    only[first] = True
    return np.where(repeats & only, target, items)


def _draw_popularity(spec: ShopSpec, quality: FloatArray) -> FloatArray:
    noise = normal(spec.seed, "item/luck", np.arange(spec.num_items))
    rank = np.empty(spec.num_items, dtype=np.int64)
    rank[np.argsort(-(0.6 * quality + 0.8 * noise), kind="stable")] = np.arange(1, spec.num_items + 1)
    weights = rank.astype(np.float64) ** -POPULARITY_EXPONENT
    popularity: FloatArray = weights / weights.sum()
    return popularity


def _draw_prices(
    spec: ShopSpec, domain: IntArray, leaf: IntArray, quality: FloatArray
) -> tuple[FloatArray, FloatArray]:
    noise = uniform(spec.seed, "item/price", np.arange(spec.num_items))
    level = np.clip(0.75 * noise + 0.25 / (1 + np.exp(-quality)), 0.0, 0.999)
    ranges = np.array([[words.price for words in vocabulary.leaves] for vocabulary in VOCABULARIES])
    low, high = ranges[domain, leaf, 0], ranges[domain, leaf, 1]
    exact = low * (high / low) ** level
    english = np.maximum(np.round(exact), 1) - 0.01
    chinese = np.maximum(np.round(exact), 2) - np.where(exact < 100, 0.1, 0.0)
    return level, np.round(np.where(domain == 0, english, chinese), 2)


def _index(domain: IntArray, leaf: IntArray, product: IntArray, popularity: FloatArray) -> BucketIndex:
    bucket = (domain * NUM_LEAVES + leaf) * PRODUCTS + product
    order = np.argsort(bucket, kind="stable").astype(np.int64)
    running = np.concatenate([[0.0], np.cumsum(popularity[order])])
    edges = np.searchsorted(bucket[order], np.arange(2 * NUM_LEAVES * PRODUCTS + 1)).astype(np.int64)
    return BucketIndex(order=order, running=running, product_edges=edges)
