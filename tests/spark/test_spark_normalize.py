"""The column functions against the rules they stand for, which have tests of their own."""

import pyarrow as pa
import pytest

from recsys_batch.contracts.config.prepare import Prepare
from recsys_batch.rules.pseudonyms import pseudonymize
from recsys_batch.rules.texts.clean import canonicalize_ids, clean_text, normalize_query
from recsys_batch.spark.inputs.normalize import canonical_id, canonical_list, canonical_user, cleaned, normalized_query

TEXTS = [
    None,
    "",
    "  ",
    " Ab1 ",
    "17850.0",
    "１２Ａ",  # full-width, NFKC makes it 12A
    "绿茶  龙井",
    "<b>Tea</b> &amp; Co",
    "&lt;i&gt;x&lt;/i&gt;",
    "GREEN\tTea ",
    "\u200b",
    "ﬁne",
]


def test_columns_equal_the_rules(spark, frame):
    made = frame({"n": "int", "t": "string"}, [{"n": n, "t": text} for n, text in enumerate(TEXTS)]).repartition(3)
    rows = made.select(
        "n",
        *(canonical_id("t", case).alias(case) for case in ("keep", "upper", "lower")),
        normalized_query("t").alias("query"),
        cleaned("t").alias("cleaned"),
    ).collect()
    found = {row.n: row for row in rows}
    for case in ("keep", "upper", "lower"):
        expected = canonicalize_ids(pa.array(TEXTS, pa.string()), case).to_pylist()
        assert [found[n][case] for n in range(len(TEXTS))] == expected
    assert [found[n]["query"] for n in range(len(TEXTS))] == [normalize_query(text) for text in TEXTS]
    assert [found[n]["cleaned"] for n in range(len(TEXTS))] == [clean_text(text) or None for text in TEXTS]
    # Some of them by hand, so that both sides cannot be wrong alike.
    assert [found[n]["upper"] for n in (0, 1, 2, 3, 4, 5)] == [None, None, None, "AB1", "17850", "12A"]
    assert [found[n]["query"] for n in (0, 2, 6, 9)] == [None, None, "绿茶 龙井", "green tea"]
    assert [found[n]["cleaned"] for n in (0, 1, 7, 8)] == [None, None, "Tea & Co", "x"]


@pytest.mark.parametrize("partitions", [1, 4])
def test_lists_keep_their_order_and_lose_null_and_blank_ids(spark, frame, partitions):
    lists = [["b1", " a1 ", "b1"], None, [], [None, "", "12.0"], ["  "], ["茶", "ｘ"]]
    made = frame({"n": "int", "l": "array<string>"}, [{"n": n, "l": ids} for n, ids in enumerate(lists)])
    rows = made.repartition(partitions).select("n", canonical_list("l", "upper")).collect()
    assert {row.n: row.l for row in rows} == {0: ["B1", "A1", "B1"], 1: [], 2: [], 3: ["12"], 4: [], 5: ["茶", "X"]}


def test_users_are_canonical_and_pseudonyms_where_a_key_is_named(frame):
    made = frame({"n": "int", "t": "string"}, [{"n": n, "t": text} for n, text in enumerate(TEXTS)]).repartition(3)
    key = b"a secret of the shop"
    plain, keyed = Prepare(id_case="upper"), Prepare(id_case="upper", pseudonymize_with="SHOP_KEY")
    selected = made.select(
        "n", canonical_user("t", plain, None).alias("plain"), canonical_user("t", keyed, key).alias("keyed")
    )
    rows = {row.n: row for row in selected.collect()}
    canonical = canonicalize_ids(pa.array(TEXTS, pa.string()), "upper")
    assert [rows[n].plain for n in range(len(TEXTS))] == canonical.to_pylist()
    assert [rows[n].keyed for n in range(len(TEXTS))] == pseudonymize(canonical, key).to_pylist()
    plan = selected._jdf.queryExecution().toString()
    assert "canonicalize" in plan
    assert not any(text in plan for text in (key.decode(), key.hex(), "SHOP_KEY"))


def test_a_key_that_is_asked_for_cannot_be_left_out():
    with pytest.raises(ValueError, match=r"user_id: .*no key"):
        canonical_user("user_id", Prepare(pseudonymize_with="SHOP_KEY"), None)
