from recsys_batch.contracts.columns import Inputs
from recsys_batch.spark.catalog.near_duplicates import link_near_duplicates

TYPES = {"item_index": "int"} | Inputs.TYPES["items"]

# Group -> its items, oldest first: those of one inner list are one product.
CASES = {
    "case and punctuation": [
        [{"title": "Oat Mask, 100 ml"}, {"title": "*OAT MASK - 100 ML*"}, {"title": "oat·mask·100·ml"}]
    ],
    "chinese": [
        [{"title": "【野径露营椅 家庭款】"}, {"title": "野径露营椅 家庭款！"}],
        [{"title": "野径露营椅 单人款"}],
    ],
    "numbers": [[{"title": "Bottle 1.5 l"}, {"title": "bottle 1,5 L"}], [{"title": "Bottle 15 l"}]],
    # One brand and none: nothing speaks against it.
    "one brand": [
        [{"title": "Lamp one"}, {"title": "lamp ONE", "brand": "Lux"}, {"title": "lamp one", "brand": "LUX "}]
    ],
    "brand in attributes": [
        [{"title": "Lamp x", "brand": "Lux"}],
        [{"title": "Lamp X", "attributes": {"Brand": "Nox"}}],
    ],
    # Several brands: whose the two without brand are, nobody knows.
    "several brands": [
        [{"title": "Lamp two", "brand": "Lux"}, {"title": "lamp two", "brand": "lux"}],
        [{"title": "LAMP two", "brand": "Nox"}],
        [{"title": "Lamp, two"}, {"title": "Lamp two!"}],
    ],
    "variants": [
        [
            {"title": "Strap top", "attributes": {"Color": "Red", "Care": "wash"}},
            {"title": "strap top", "attributes": {"color": " red ", "Fit": "slim"}},
        ],
        [{"title": "Strap top", "attributes": {"Color": "blue", "Care": "Wash"}}],
        [{"title": "Strap Top", "attributes": {"Care": "wash"}}, {"title": "Strap-top"}],
    ],
    "null attribute": [
        [{"title": "Belt", "attributes": {"Color": None}}, {"title": "belt", "attributes": {"Color": "tan"}}]
    ],
    "categories": [
        [{"title": "Ring", "category": "Home > Curtains"}],
        [{"title": "ring", "category": "Jewelry"}, {"title": "RING", "category": "jewelry"}],
    ],
    # The color tells the items of one brand apart, the others not.
    "brands and variants": [
        [{"title": "Cup", "brand": "A", "attributes": {"Color": "red"}}],
        [{"title": "Cup", "brand": "A", "attributes": {"Color": "blue"}}],
        [{"title": "Cup", "brand": "B"}, {"title": "CUP", "brand": "B", "attributes": {"Color": "blue"}}],
    ],
    "domains": [[{"title": "Taxi", "domain": "en"}], [{"title": "taxi", "domain": "de"}]],
    "no letters": [[{"title": "★"}], [{"title": "★"}]],
}


def test_items_that_are_one_product_are_linked_to_the_oldest(frame):
    rows, expected = [], {}
    for number, (name, products) in enumerate(CASES.items()):
        # The titles of different cases differ; indices fall where the rows are later in the file.
        for place, product in enumerate(products):
            for copy, item in enumerate(product):
                item_id = f"{name}/{place}/{copy}"
                index = 1000 * number + 10 * copy + place
                oldest = 1000 * number + place
                rows.insert(0, item | {"item_id": item_id, "item_index": index})
                expected[item_id] = (index, oldest, f"{name}/{place}/0")
    items = frame(TYPES, rows).repartition(5)
    linked = link_near_duplicates(items, "link")
    assert sorted(linked.columns) == sorted([*TYPES, "canonical_index", "canonical_item_id"])
    found = linked.collect()
    assert {r.item_id: (r.item_index, r.canonical_index, r.canonical_item_id) for r in found} == expected
    assert len(found) == len(rows)


def test_items_are_their_own_where_they_are_kept(frame):
    rows = [{"item_id": "a", "item_index": 4, "title": "t"}, {"item_id": "b", "item_index": 2, "title": "t"}]
    kept = link_near_duplicates(frame(TYPES, rows), "keep").collect()
    assert {(r.item_id, r.canonical_index, r.canonical_item_id) for r in kept} == {("a", 4, "a"), ("b", 2, "b")}
