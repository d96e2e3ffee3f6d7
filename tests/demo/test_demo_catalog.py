import re
import unicodedata

import numpy as np
import pytest

from recsys_batch.demo.catalog import NUM_LEAVES, build_catalog
from recsys_batch.demo.dirt import ITEM_RATES, UNAVAILABLE_RATE
from recsys_batch.demo.item_text import item_name, write_items
from recsys_batch.demo.spec import MIN_ITEMS, ShopSpec
from recsys_batch.demo.vocabulary import AXIS_SIZES, BRANDS, PRODUCTS
from recsys_batch.demo.vocabulary_en import ENGLISH
from recsys_batch.demo.vocabulary_zh import CHINESE

LARGE = ShopSpec(num_items=20_000)


def fold(title: str) -> str:
    return re.sub(r"[\W_]+", "", unicodedata.normalize("NFKC", title).casefold())


@pytest.fixture(scope="module")
def rows():
    catalog = build_catalog(LARGE)
    return catalog, list(write_items(LARGE, catalog, np.arange(LARGE.num_items)))


@pytest.mark.parametrize("vocabulary", [ENGLISH, CHINESE], ids=["en", "zh"])
def test_every_leaf_has_the_words_that_the_catalog_counts_on(vocabulary):
    for leaf in vocabulary.leaves:
        assert len(set(leaf.products)) == PRODUCTS
        assert tuple(len(set(values)) for _, values in leaf.axes) == AXIS_SIZES
        assert len(leaf.path.split(" > ")) == 3
        assert leaf.department in vocabulary.brands
    assert all(len(set(brands)) == BRANDS for brands in vocabulary.brands.values())
    assert len(vocabulary.brands) >= 8


def test_both_languages_have_the_same_leaves_in_the_same_order():
    assert [leaf.key for leaf in ENGLISH.leaves] == [leaf.key for leaf in CHINESE.leaves]


def test_sixty_percent_of_the_items_are_english():
    assert np.mean(build_catalog(LARGE).domain == 0) == pytest.approx(0.6, abs=0.01)


def test_the_smallest_catalog_has_an_item_in_every_leaf_of_both_languages():
    catalog = build_catalog(ShopSpec(num_items=MIN_ITEMS))
    own = catalog.canonical == np.arange(len(catalog))
    assert len(set(zip(catalog.domain[own], catalog.leaf[own], strict=True))) == 2 * NUM_LEAVES


def test_titles_are_distinct_but_for_planted_near_duplicates(rows):
    catalog, written = rows
    titles = {row["item_id"]: row["title"] for row in written}  # the latest of conflicting rows comes last
    own = [titles[item_name(item)] for item in np.flatnonzero(catalog.canonical == np.arange(len(catalog)))]
    assert len({fold(title) for title in own}) == len(own)
    copies = np.flatnonzero(catalog.canonical != np.arange(len(catalog)))
    assert len(copies) / len(catalog) == pytest.approx(ITEM_RATES["near_duplicate"], rel=0.2)
    for copy in copies.tolist():
        title, original = titles[item_name(copy)], titles[item_name(int(catalog.canonical[copy]))]
        assert title != original
        assert fold(title) == fold(original)


def test_descriptions_are_one_to_four_sentences_in_the_language_of_the_item(rows):
    for row in rows[1]:
        text = re.sub(r"<[^>]+>", "", row["description"])
        chinese = bool(re.search(r"[\u4e00-\u9fff]", text))
        assert chinese == (row["domain"] == "zh")
        assert 1 <= len(re.findall(r"。" if chinese else r"\.(?:\s|$|[A-Z&])", text)) <= 4, text
        assert "{" not in text


def test_faults_of_the_catalog_come_at_their_rates(rows):
    catalog, written = rows
    latest = {row["item_id"]: row for row in written}
    shares = {
        "html_description": np.mean(["<" in row["description"] for row in latest.values()]),
        "missing_brand": np.mean([row["brand"] is None for row in latest.values()]),
        "missing_category": np.mean([row["category"] is None for row in latest.values()]),
        "missing_price": np.mean([row["price"] is None for row in latest.values()]),
        "conflicting_row": (len(written) - len(latest)) / len(latest),
    }
    for kind, share in shares.items():
        assert share == pytest.approx(ITEM_RATES[kind], rel=0.25), kind
    assert np.mean(~catalog.available) == pytest.approx(UNAVAILABLE_RATE, rel=0.2)


def test_the_older_of_two_conflicting_rows_is_wrong(rows):
    seen = {}
    for row in rows[1]:
        older = seen.setdefault(row["item_id"], row)
        if older is not row:
            assert older["updated_at"] < row["updated_at"]
            assert older["title"] != row["title"]
            assert older["available"] != row["available"]


def test_every_item_is_in_the_catalog_before_the_first_day(rows):
    assert all(row["updated_at"] < LARGE.start.isoformat() for row in rows[1])


def test_popularity_has_a_long_tail_and_follows_quality(rows):
    catalog, _ = rows
    ranked = np.sort(catalog.popularity)[::-1]
    assert ranked.sum() == pytest.approx(1)
    assert ranked[: len(ranked) // 10].sum() > 0.3
    assert np.corrcoef(np.log(catalog.popularity), catalog.quality)[0, 1] > 0.4
