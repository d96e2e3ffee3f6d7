from recsys_batch.contracts.columns import Inputs
from recsys_batch.contracts.config.prepare import Missing
from recsys_batch.spark.catalog.missing import fill_missing

TYPES = {"item_index": "int", "canonical_index": "int"} | Inputs.TYPES["items"] | {"filled": "map<string,string>"}
EVERYTHING = Missing(
    brand=["attributes", "near_duplicates", "title"],
    category=["attributes", "near_duplicates"],
    price=["attributes", "near_duplicates"],
)
FULL = {"brand": "-", "category": "-", "price": 1.0}

# item_id -> (the row, its brand, category, price and filled afterwards); `of` names the canonical item.
CASES = {
    "full": (FULL | {"attributes": {"Brand": "X", "category": "Y", "price": "2"}}, "-", "-", 1.0, {}),
    "attributes": (
        {"attributes": {" MANUFACTURER": "M &amp; S", "产品": "x", "类别": "A > B", "List_Price": "$1,299.50"}},
        "M & S",
        "A > B",
        1299.5,
        {"brand": "attributes", "category": "attributes", "price": "attributes"},
    ),
    "first name wins": (
        FULL | {"brand": None, "attributes": {"Manufacturer": "factory", "Brand": "label", "品牌": "x"}},
        "label",
        "-",
        1.0,
        {"brand": "attributes"},
    ),
    "blank attribute": (FULL | {"brand": None, "attributes": {"brand": " ", "品牌": None}}, None, "-", 1.0, {}),
    "odd price": (FULL | {"price": None, "attributes": {"price": "from 3 to 5"}}, "-", "-", None, {}),
    "zero price": (FULL | {"price": None, "attributes": {"price": "0.00"}}, "-", "-", None, {}),
    "yuan": (FULL | {"price": None, "attributes": {"价格": "￥59元"}}, "-", "-", 59.0, {"price": "attributes"}),
    "title filled": (FULL | {"filled": {"title": "attributes"}}, "-", "-", 1.0, {"title": "attributes"}),
    # Five of one product: brand most frequent, category tied, prices of one currency 2, 4, 9.
    "t1": ({"brand": "P", "category": "C2", "price": 2.0, "currency": "EUR"}, "P", "C2", 2.0, {}),
    "t2": ({"brand": "Q", "category": "C1", "price": 4.0, "currency": "EUR", "of": "t1"}, "Q", "C1", 4.0, {}),
    "t3": ({"brand": "Q", "category": "C1", "price": 9.0, "currency": "EUR", "of": "t1"}, "Q", "C1", 9.0, {}),
    "t4": (
        {"category": "C2", "price": 70.0, "currency": "CNY", "of": "t1"},
        "Q",
        "C2",
        70.0,
        {"brand": "near_duplicates"},
    ),
    "t5": (
        {"currency": "EUR", "of": "t1", "filled": {"title": "description"}},
        "Q",
        "C1",
        4.0,
        {
            "title": "description",
            "brand": "near_duplicates",
            "category": "near_duplicates",
            "price": "near_duplicates",
        },
    ),
    "t6": (
        {"brand": "R", "currency": "USD", "of": "t1", "attributes": {"price": "5"}},
        "R",
        "C1",
        5.0,
        {"category": "near_duplicates", "price": "attributes"},
    ),
}
# Brands that at least three items name, most of them in front; `Rare` stands on two items, `Green` mostly elsewhere.
KNOWN = {
    "Oak": ["Oak chair", "Oak bed", "OAK shelf"],
    "Oak & Sons": ["Oak & Sons table", "Oak & Sons lamp", "Oak & Sons rug"],
    "弧光": ["弧光耳机", "弧光音箱", "弧光手机壳"],
    "Rare": ["Rare a", "Rare b"],
    "Green": ["Green tea", "Kettle Green", "Pot Green", "Mug Green"],
    "X": ["X one", "X two", "X three"],
}
FROM_TITLE = {
    "Oak stool": "Oak",
    "*OAK·stool*": "Oak",
    "Oak and Sons stool": "Oak",
    "oak - sons' stool": "Oak & Sons",
    "Oaken stool": None,
    "The Oak stool": None,
    "Oak": "Oak",
    "弧光真无线耳机": "弧光",
    "【弧光】真无线耳机": "弧光",
    "弧线耳机": None,
    "Oak椅子": "Oak",
    "Rare c": None,
    "Green cup": None,
    "X four": None,
}


def test_missing_values_are_filled_from_what_the_config_names(frame):
    rows, expected = [], {}
    for item_id, (row, *after) in CASES.items():
        rows.append({"title": f"{item_id} thing", "item_id": item_id} | row)
        expected[item_id] = tuple(after)
    for brand, titles in KNOWN.items():
        for title in titles:
            rows.append(FULL | {"item_id": f"known {title}", "title": title, "brand": brand})
            expected[f"known {title}"] = (brand, "-", 1.0, {})
    for title, brand in FROM_TITLE.items():
        rows.append(FULL | {"item_id": f"new {title}", "title": title, "brand": None})
        expected[f"new {title}"] = (brand, "-", 1.0, {"brand": "title"} if brand else {})
    index = {row["item_id"]: number for number, row in enumerate(rows)}
    for row in rows:
        row |= {"item_index": index[row["item_id"]], "canonical_index": index[row.pop("of", row["item_id"])]}
    items = frame(TYPES, rows).repartition(4)
    filled = fill_missing(items, EVERYTHING)
    assert filled.columns == items.columns
    found = filled.collect()
    assert {r.item_id: (r.brand, r.category, r.price, r.filled) for r in found} == expected
    assert len(found) == len(rows)
    nothing = fill_missing(items.drop("filled"), Missing(brand=[], category=[], price=[])).collect()
    assert all(row.filled == {} for row in nothing)
    assert {r.item_id: (r.brand, r.category, r.price) for r in nothing} == {
        row["item_id"]: (row.get("brand"), row.get("category"), row.get("price")) for row in rows
    }
