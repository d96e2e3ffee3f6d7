import pytest

from recsys_batch.contracts.config import ItemText
from recsys_batch.contracts.errors import DuplicateItemsError
from recsys_batch.spark.catalog import choose_items, classify_items, finish_items

TEXT = ItemText(fields=["title", "brand", "attributes"], max_chars=600)


def choose(raw, rows, policy):
    return choose_items(raw("items", rows).drop("_kept"), policy)


def test_items_are_classified_and_cleaned(raw):
    rows = [
        {
            "item_id": " a1 ",
            "title": "<b>Green</b>  tea",
            "description": "x &amp; y",
            "category": "Food &gt; Tea",
            "brand": " ",
        },
        {"item_id": "  ", "title": "no id", "price": 1.0},
        {"item_id": "a2", "title": "<br/>", "price": 2.0},
        {"item_id": None, "title": None, "price": 3.0},
        {"item_id": None, "title": None, "price": 4.0, "_kept": False},
        {"item_id": "a3", "title": "龙井", "attributes": {"leaf": "green"}, "available": False},
    ]
    found = classify_items(raw("items", rows), "upper").collect()
    assert {(row.item_id, row.title, row.price, row.status) for row in found} == {
        ("A1", "Green tea", None, "used"),
        (None, "no id", 1.0, "missing_item_id"),
        ("A2", None, 2.0, "missing_title"),
        (None, None, 3.0, "missing_item_id"),
        (None, None, 4.0, "filtered"),
        ("A3", "龙井", None, "used"),
    }
    assert len(found) == len(rows)
    first = next(row for row in found if row.item_id == "A1")
    assert (first.description, first.category, first.brand) == ("x & y", "Food > Tea", None)
    last = next(row for row in found if row.item_id == "A3")
    assert (last.attributes, last.available) == ({"leaf": "green"}, False)
    assert "_kept" not in first


def test_different_rows_of_one_item_are_refused_by_name(raw):
    rows = [{"item_id": "fine", "title": "t"}, {"item_id": "A7", "title": "one"}, {"item_id": "A7", "title": "two"}]
    rows += [{"item_id": "A8", "title": "same", "price": price} for price in (1.0, 2.0, 3.0)]
    with pytest.raises(DuplicateItemsError) as caught:
        choose(raw, rows, "error")
    message = str(caught.value)
    # The worst comes first.
    assert "('A8': 3 rows, titles ['same']; 'A7': 2 rows, titles ['one', 'two'])" in message
    assert "fine" not in message
    assert caught.value.exit_code == 20


def test_identical_rows_are_merged_under_error(raw):
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
    found = {row.item_id: row for row in choose(raw, rows, "error").collect()}
    assert found.keys() == {"A", "B"}
    assert (found["A"].title, found["A"].price, found["A"].available) == ("t", 2.5, True)
    assert found["A"].attributes == {"x": "1", "y": None}
    assert found["B"].attributes is None


@pytest.mark.parametrize("partitions", [1, 5])
def test_the_most_frequent_value_of_each_column_wins(raw, partitions):
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
    ]
    found = {
        row.item_id: row for row in choose_items(raw("items", rows).repartition(partitions), "most_frequent").collect()
    }
    assert len(found) == 3
    a = found["A"]
    assert (a.title, a.brand, a.price, a.attributes) == ("often", "y", 2.0, {"k": "2"})
    assert found["B"].brand == "z"
    assert found["C"].title == "b"


@pytest.mark.parametrize("partitions", [1, 5])
def test_the_latest_row_wins_as_a_whole(raw, partitions):
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
    found = (
        choose_items(raw("items", rows).repartition(partitions).drop("_kept"), "latest").orderBy("item_id").collect()
    )
    assert [(row.item_id, row.title, row.brand, row.attributes) for row in found] == [
        ("A", "new", None, {"k": "v"}),
        # Without dates the same one every time: the greatest.
        ("B", "t2", None, None),
    ]


def test_items_are_finished(raw):
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
        {"item_id": "10", "title": "ten", "category": "A > B", "price": 3.0},
        {"item_id": "9", "title": "nine", "category": "A > B", "price": 3.0},
    ]
    made = finish_items(raw("items", rows).repartition(3), TEXT, "price > 0", 2)
    found = {row.item_id: row for row in made.collect()}
    # Strings in the order of their bytes, dense from 0.
    assert {item_id: row.item_index for item_id, row in found.items()} == {
        "10": 0,
        "9": 1,
        "B": 2,
        "a": 3,
        "b": 4,
        "茶": 5,
    }
    assert dict(made.dtypes)["item_index"] == "int"
    assert {item_id: row.eligible for item_id, row in found.items()} == {
        "b": True,
        "B": False,  # fails the rule
        "茶": False,  # the rule gives null
        "a": False,  # not available
        "10": True,  # availability unknown
        "9": True,
    }
    assert {item_id: row.category_key for item_id, row in found.items()} == {
        "b": "Food > Drinks",
        "B": "Home",
        "茶": None,
        "a": "Food > Drinks",
        "10": "A > B",
        "9": "A > B",
    }
    # A brand that the title names is not repeated; attributes come by name.
    assert {found[i].text for i in ("b", "B", "茶")} == {"Tea. Acme", "Acme pot. a: 2; z: 1", "茶"}
    assert found["B"].attributes == {"z": "1", "a": "2"}


def test_without_a_rule_only_availability_counts(raw):
    rows = [{"item_id": str(n), "title": "t", "available": value} for n, value in enumerate((True, False, None))]
    made = finish_items(raw("items", rows), TEXT, "", 1).orderBy("item_id")
    assert [row.eligible for row in made.select("eligible").collect()] == [True, False, True]
