from datetime import date

import pytest

from recsys_batch.contracts.columns import Inputs
from recsys_batch.contracts.config.night import ItemText
from recsys_batch.contracts.config.prepare import Missing, Prepare
from recsys_batch.contracts.errors import DuplicateItemsError
from recsys_batch.spark.catalog.items import choose_items, classify_items, finish_items

DS = date(2026, 6, 30)
TEXT = ItemText(fields=["title", "brand", "attributes", "reviews"], max_tokens=60)
PREPARE = Prepare(id_case="upper", non_product_ids="^(POST|M)$", missing=Missing(title=["attributes", "description"]))
USED_ITEMS = Inputs.TYPES["items"] | {"filled": "map<string,string>"}


@pytest.fixture
def used(frame):
    """Make rows as `classify_items` passes them on."""

    def make(rows):
        return frame(USED_ITEMS, [{"filled": {}} | row for row in rows])

    return make


def choose(used, rows, policy):
    return choose_items(used(rows), policy)


def test_items_are_classified_and_cleaned(raw):
    rows = [
        {
            "item_id": " a1 ",
            "title": "<b>Green</b>  tea",
            "description": "x &amp; y",
            "category": "Food &gt; Tea",
            "brand": " ",
            "attributes": {"name": "not needed"},
        },
        {"item_id": "  ", "title": "no id", "price": 1.0},
        {"item_id": "a2", "title": "<br/>", "price": 2.0},
        {"item_id": None, "title": None, "price": 3.0},
        {"item_id": None, "title": None, "price": 4.0, "_kept": False},
        {"item_id": "a3", "title": "龙井", "attributes": {"leaf": "green"}, "available": False},
        {"item_id": "post", "title": "Postage", "price": 5.0},
        {"item_id": "m", "price": 6.0},
        {"item_id": "mm", "title": "Medium", "price": 7.0},
        # The last microsecond of the date is known, the next is not.
        {"item_id": "a4", "title": "now", "price": 8.0, "updated_at": "2026-06-30 23:59:59.999999"},
        {"item_id": "a5", "title": "later", "price": 9.0, "updated_at": "2026-07-02 00:00:00"},
        {"item_id": None, "title": None, "price": 10.0, "updated_at": "2027-07-01 00:00:00"},
        {"item_id": "m", "price": 11.0, "updated_at": "2026-07-01 00:00:00", "_kept": False},
        # Titles that are found elsewhere.
        {"item_id": "f1", "attributes": {"x": "1", "NAME ": "<i>Mug</i> &amp; spoon"}, "description": "A mug."},
        {"item_id": "f2", "attributes": {"产品名称": "茶壶", "名称": " ", "Title": None}},
        {"item_id": "f3", "title": "", "description": "<p>A 3.5 mm plug. And more.</p>"},
        {"item_id": "f4", "description": "手工茶壶。适合送礼。"},
        {"item_id": "f5", "description": "No end to it"},
        {"item_id": "f6", "description": "word " * 50, "price": 12.0},
    ]
    classified = classify_items(raw("items", rows), PREPARE, DS)
    found = classified.collect()
    assert {(row.item_id, row.title, row.price, row.status, *row.filled.items()) for row in found} == {
        ("A1", "Green tea", None, "used"),
        (None, "no id", 1.0, "missing_item_id"),
        ("A2", None, 2.0, "missing_title"),
        (None, None, 3.0, "missing_item_id"),
        (None, None, 4.0, "filtered"),
        ("A3", "龙井", None, "used"),
        ("POST", "Postage", 5.0, "non_product"),
        ("M", None, 6.0, "non_product"),
        ("MM", "Medium", 7.0, "used"),
        ("A4", "now", 8.0, "used"),
        ("A5", "later", 9.0, "outside_window"),
        (None, None, 10.0, "outside_window"),
        ("M", None, 11.0, "filtered"),
        ("F1", "Mug & spoon", None, "used", ("title", "attributes")),
        ("F2", "茶壶", None, "used", ("title", "attributes")),
        ("F3", "A 3.5 mm plug", None, "used", ("title", "description")),
        ("F4", "手工茶壶", None, "used", ("title", "description")),
        ("F5", "No end to it", None, "used", ("title", "description")),
        ("F6", None, 12.0, "missing_title"),
    }
    assert len(found) == len(rows)
    first = next(row for row in found if row.item_id == "A1")
    assert (first.description, first.category, first.brand) == ("x & y", "Food > Tea", None)
    last = next(row for row in found if row.item_id == "A3")
    assert (last.attributes, last.available) == ({"leaf": "green"}, False)
    assert classified.columns == [*Inputs.TYPES["items"], "_notes", "filled", "status"]


def test_an_item_that_was_touched_after_midnight_is_there_unless_an_earlier_row_says_what_it_was(raw):
    def row(item_id, updated_at, **more):
        return {"item_id": item_id, "title": "t", "updated_at": updated_at, **more}

    rows = [
        row("touched", "2026-07-01 00:30:00"),
        row("last", "2026-07-01 23:59:59.999999"),
        row("beyond", "2026-07-02 00:00:00"),
        # A catalog that keeps old rows says what the item was.
        row("kept", "2026-06-01 00:00:00", price=1.0),
        row("kept", "2026-07-01 00:30:00", price=2.0),
        row("undated", None, price=3.0),
        row("undated", "2026-07-01 00:30:00", price=4.0),
        # An earlier row that cannot be used says nothing.
        row("refused", "2026-06-01 00:00:00") | {"title": None, "price": 5.0},
        row("refused", "2026-07-01 00:30:00", price=6.0),
        row("hidden", "2026-06-01 00:00:00", price=7.0, _kept=False),
        row("hidden", "2026-07-01 00:30:00", price=8.0),
        row(None, "2026-07-01 00:30:00"),
    ]

    def classified(**settings):
        made = classify_items(raw("items", rows).repartition(3), Prepare(**settings), DS).collect()
        assert len(made) == len(rows)
        return {(one.item_id, one.price): one.status for one in made}

    assert classified() == {
        ("touched", None): "used",
        ("last", None): "used",
        ("beyond", None): "outside_window",
        ("kept", 1.0): "used",
        ("kept", 2.0): "outside_window",
        ("undated", 3.0): "used",
        ("undated", 4.0): "outside_window",
        ("refused", 5.0): "missing_title",
        ("refused", 6.0): "used",
        ("hidden", 7.0): "filtered",
        ("hidden", 8.0): "used",
        (None, None): "missing_item_id",
    }
    strict = classified(catalog_grace_hours=0)
    assert {key for key, status in strict.items() if status == "used"} == {("kept", 1.0), ("undated", 3.0)}
    assert classified(catalog_grace_hours=0.5)["touched", None] == "outside_window"
    assert classified(catalog_grace_hours=0.51)["touched", None] == "used"


def test_a_missing_title_stays_missing_where_the_config_names_no_source(raw):
    rows = [{"item_id": "a", "attributes": {"name": "Mug"}, "description": "A mug."}]
    settings = Prepare(missing=Missing(title=[]))
    assert [row.status for row in classify_items(raw("items", rows), settings, DS).collect()] == ["missing_title"]


def test_different_rows_of_one_item_are_refused_by_name(used):
    rows = [{"item_id": "fine", "title": "t"}, {"item_id": "A7", "title": "one"}, {"item_id": "A7", "title": "two"}]
    rows += [{"item_id": "A8", "title": "same", "price": price} for price in (1.0, 2.0, 3.0)]
    with pytest.raises(DuplicateItemsError) as caught:
        choose(used, rows, "error")
    message = str(caught.value)
    # The worst comes first.
    assert "('A8': 3 rows, titles ['same']; 'A7': 2 rows, titles ['one', 'two'])" in message
    assert "fine" not in message
    assert caught.value.exit_code == 20


def test_identical_rows_are_merged_under_error(used):
    full = {
        "item_id": "A",
        "title": "t",
        "price": 2.5,
        "attributes": {"x": "1", "y": None},
        "available": True,
        "updated_at": "2026-06-01 00:00:00",
    }
    # The order of a map's entries is no difference.
    rows = [full, full, full | {"attributes": {"y": None, "x": "1"}}, {"item_id": "B", "title": "t"}]
    found = {row.item_id: row for row in choose(used, rows, "error").collect()}
    assert found.keys() == {"A", "B"}
    assert (found["A"].title, found["A"].price, found["A"].available) == ("t", 2.5, True)
    assert found["A"].attributes == {"x": "1", "y": None}
    assert found["B"].attributes is None


@pytest.mark.parametrize("partitions", [1, 5])
def test_the_most_frequent_value_of_each_column_wins(used, partitions):
    rows = [
        {"item_id": "A", "title": "often", "brand": "x", "price": 1.0, "attributes": {"k": "1"}},
        {"item_id": "A", "title": "often", "brand": "y", "price": 2.0, "attributes": {"k": "2"}},
        {"item_id": "A", "title": "aaaa", "brand": "y", "price": 2.0, "attributes": {"k": "2"}},
        # A null is no vote.
        {"item_id": "B", "title": "t", "brand": None},
        {"item_id": "B", "title": "t", "brand": None},
        {"item_id": "B", "title": "t", "brand": "z"},
        # A tie goes to the lowest.
        {"item_id": "C", "title": "m"},
        {"item_id": "C", "title": "b"},
        {"item_id": "C", "title": "z"},
        # A title that was given goes before one that was found.
        {"item_id": "D", "title": "found", "filled": {"title": "attributes"}},
        {"item_id": "D", "title": "found", "filled": {"title": "attributes"}},
        {"item_id": "D", "title": "given"},
        {"item_id": "E", "title": "found", "filled": {"title": "attributes"}},
    ]
    found = {row.item_id: row for row in choose_items(used(rows).repartition(partitions), "most_frequent").collect()}
    assert len(found) == 5
    a = found["A"]
    assert (a.title, a.brand, a.price, a.attributes) == ("often", "y", 2.0, {"k": "2"})
    assert found["B"].brand == "z"
    assert found["C"].title == "b"
    assert (found["D"].title, found["D"].filled) == ("given", {})
    assert (found["E"].title, found["E"].filled) == ("found", {"title": "attributes"})


@pytest.mark.parametrize("partitions", [1, 5])
def test_the_latest_row_wins_as_a_whole(used, partitions):
    rows = [
        {"item_id": "A", "title": "old", "brand": "x", "updated_at": "2026-06-01 00:00:00"},
        {
            "item_id": "A",
            "title": "new",
            "brand": None,
            "attributes": {"k": "v"},
            "updated_at": "2026-06-01 00:00:00.000001",
        },
        {"item_id": "A", "title": "undated", "brand": "y"},
        {"item_id": "B", "title": "t1", "price": 1.0},
        {"item_id": "B", "title": "t2", "price": 1.0},
    ]
    found = choose_items(used(rows).repartition(partitions), "latest").orderBy("item_id").collect()
    assert [(row.item_id, row.title, row.brand, row.attributes) for row in found] == [
        ("A", "new", None, {"k": "v"}),
        # Without dates the same one every time: the greatest.
        ("B", "t2", None, None),
    ]


@pytest.fixture
def linked(frame):
    """Make rows as `fill_missing` gives them; an item is its own canonical one where the row does not say."""
    types = {"item_index": "int", "canonical_index": "int", "canonical_item_id": "string"} | USED_ITEMS

    def make(rows):
        numbered = [{"item_index": n, "canonical_index": n, "filled": {}} | row for n, row in enumerate(rows)]
        ids = {row["item_index"]: row["item_id"] for row in numbered}
        numbered = [row | {"canonical_item_id": ids[row["canonical_index"]]} for row in numbered]
        return frame(types, numbered)

    return make


def test_items_are_finished(linked, frame):
    rows = [
        {
            "item_id": "b",
            "title": "Tea",
            "category": "Food > Drinks > Tea",
            "brand": "Acme",
            "price": 1.0,
            "available": True,
        },
        {
            "item_id": "B",
            "title": "Acme pot",
            "category": "Home",
            "brand": "acme",
            "price": 0.0,
            "attributes": {"z": "1", "a": "2"},
        },
        {"item_id": "茶", "title": "茶", "category": None, "price": None},
        {"item_id": "a", "title": "gone", "category": "Food>Drinks", "price": 1.0, "available": False},
        {"item_id": "10", "title": "ten", "category": "A > B", "price": 3.0, "available": True},
        {"item_id": "9", "title": "nine", "category": "A > B", "price": 3.0},
    ]
    said = frame(
        {"item_id": "string", "sentences": "array<string>"},
        [{"item_id": "b", "sentences": ["Smells good.", "Strong."]}, {"item_id": "Z", "sentences": ["of nothing"]}],
    )
    items = linked(rows).repartition(3)
    made = finish_items(items, TEXT, "price > 0", 2, said)
    found = {row.item_id: row for row in made.collect()}
    assert made.columns == [*items.columns, "text", "category_key", "eligible"]
    assert len(found) == len(rows) == made.count()
    assert {item_id: row.eligible for item_id, row in found.items()} == {
        "b": True,
        "B": False,  # fails the rule
        "茶": False,  # the rule gives null
        "a": False,  # not available
        "10": True,
        "9": False,  # others say whether they can be had
    }
    unsaid = linked([row | {"available": None} for row in rows])
    eligible = finish_items(unsaid, TEXT, "price > 0", 2, None).where("eligible").select("item_id").collect()
    assert {row.item_id for row in eligible} == {"b", "a", "10", "9"}  # nobody says it
    assert {item_id: row.category_key for item_id, row in found.items()} == {
        "b": "Food > Drinks",
        "B": "Home",
        "茶": None,
        "a": "Food > Drinks",
        "10": "A > B",
        "9": "A > B",
    }
    # A brand that the title names is not repeated; attributes come by name.
    assert {found[i].text for i in ("b", "B", "茶")} == {
        "Tea. Acme. Smells good. Strong.",
        "Acme pot. a: 2; z: 1",
        "茶",
    }
    assert found["B"].attributes == {"z": "1", "a": "2"}
    # Without a rule only availability counts.
    told = linked([row | {"available": row.get("available") is not False} for row in rows])
    free = finish_items(told, TEXT, "", 1, None).where("eligible").select("item_id", "text").collect()
    assert {(row.item_id, row.text) for row in free} >= {
        ("b", "Tea. Acme"),
        ("茶", "茶"),
        ("B", "Acme pot. a: 2; z: 1"),
    }
    assert {row.item_id for row in free} == {"b", "B", "茶", "10", "9"}


def test_of_linked_items_the_oldest_that_can_be_had_is_eligible(linked):
    rows = [
        {"item_id": "own", "title": "t", "price": 1.0, "available": True},
        # The canonical one can be had.
        {"item_id": "a1", "title": "t", "price": 1.0, "canonical_index": 1, "available": True},
        {"item_id": "a2", "title": "t", "price": 1.0, "canonical_index": 1, "available": True},
        # It is sold out, and the next one fails the rule.
        {"item_id": "b1", "title": "t", "price": 1.0, "canonical_index": 3, "available": False},
        {"item_id": "b2", "title": "t", "price": 0.0, "canonical_index": 3, "available": True},
        {"item_id": "b3", "title": "t", "price": 1.0, "canonical_index": 3, "available": True},
        {"item_id": "b4", "title": "t", "price": 1.0, "canonical_index": 3, "available": None},
        # None can be had.
        {"item_id": "c1", "title": "t", "price": 1.0, "canonical_index": 7, "available": False},
        {"item_id": "c2", "title": "t", "price": None, "canonical_index": 7},
    ]
    made = finish_items(linked(rows).repartition(4), TEXT, "price > 0", 1, None)
    found = {row.item_id: row for row in made.collect()}
    assert {item_id for item_id, row in found.items() if row.eligible} == {"own", "a1", "b3"}
    # What the shop knows of a product goes to the one that can be had.
    canonical = {item_id: (row.canonical_item_id, row.canonical_index) for item_id, row in found.items()}
    assert canonical == {
        "own": ("own", 0),
        **dict.fromkeys(("a1", "a2"), ("a1", 1)),
        **dict.fromkeys(("b1", "b2", "b3", "b4"), ("b3", 5)),
        **dict.fromkeys(("c1", "c2"), ("c1", 7)),
    }
