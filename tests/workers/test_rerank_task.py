"""Reranking: what is shown, in dense ranks, with the sources and the history item that explains each row."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys_batch.contracts.columns import CANDIDATE_SOURCES, EVENT_TYPE_CODES
from recsys_batch.contracts.config.night import Content, Covisitation, Popularity, Rerank, Retrieve
from recsys_batch.contracts.schemas import PROFILES, SCORED
from recsys_batch.report.progress import read_progress
from recsys_batch.workers.rank import RankCandidates
from recsys_batch.workers.rerank import RerankCandidates
from recsys_batch.workers.retrieve import RetrieveCandidates

CONTENT, COVISITATION, POPULARITY = range(3)
VIEW, CART, PURCHASE = (EVENT_TYPE_CODES[name] for name in ("view", "cart", "purchase"))
# Item 0 points along x, item 1 along y, item 2 close to x, item 3 close to y, item 4 away from both.
VECTORS = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.8, 0.6, 0.0], [0.6, 0.8, 0.0], [0.0, 0.0, 1.0]]


@pytest.fixture(scope="module")
def folder(build: Any, tmp_path_factory: pytest.TempPathFactory) -> str:
    shop = build.make_shop(
        VECTORS, categories=["A", "A", "A", "B", None], pairs={(0, 4): 0.25, (1, 4): 0.5, (1, 2): 1.0}
    )
    return build.write_shop(tmp_path_factory.mktemp("index") / "i", shop)


def scored(items: list[int], main: list[int], history: list[int], **more: Any) -> dict[str, Any]:
    """Return one profile whose candidates are scored 1, 1/2, 1/3, ..."""
    plain = {
        "key": "u",
        "history": history,
        "history_weights": [1.0] * len(history),
        "history_codes": [PURCHASE] * len(history),
        "items": items,
        "proposed": [1 << source for source in main],
        "scores": [1 / place for place in range(1, len(items) + 1)],
        "main_source": main,
    }
    return plain | more


def rerank(
    build: Any,
    folder: str,
    rows: list[dict[str, Any]],
    progress: Path | str,
    kind: str = "user",
    cuts: Any = (),
    **rules: Any,
) -> list[dict[str, Any]]:
    task = RerankCandidates(folder, kind, Rerank(**rules), 1.0, str(progress))  # type: ignore[arg-type]
    return build.run_task(task, pa.Table.from_pylist(rows, schema=SCORED), cuts).to_pylist()


def test_the_anchor_of_content_is_the_history_item_with_the_largest_pull(
    build: Any, folder: str, tmp_path: Path
) -> None:
    # Item 2 has the cosines 0.8 with item 0 and 0.6 with item 1.
    near, heavy = rerank(
        build,
        folder,
        [
            scored([2], [CONTENT], [1, 0], key="near", history_codes=[PURCHASE, CART]),
            scored([2], [CONTENT], [1, 0], key="heavy", history_codes=[PURCHASE, CART], history_weights=[1.0, 0.5]),
        ],
        tmp_path,
    )
    assert near["reason"] == {"kind": "similar", "anchor": "item-000", "text": "because you put in your cart 商品 0"}
    assert heavy["reason"] == {"kind": "similar", "anchor": "item-001", "text": "because you bought 商品 1"}


def test_the_anchor_of_covisitation_is_the_history_item_with_the_largest_pull(
    build: Any, folder: str, tmp_path: Path
) -> None:
    # Item 4 follows item 0 with 1/4 and item 1 with 1/2; content, where it is silent, plays no part.
    strong, heavy = rerank(
        build,
        folder,
        [
            scored([4], [COVISITATION], [0, 1], key="strong"),
            scored([4], [COVISITATION], [0, 1], key="heavy", history_weights=[1.0, 0.25]),
        ],
        tmp_path,
    )
    assert strong["reason"] == {"kind": "together", "anchor": "item-001", "text": "because you bought 商品 1"}
    assert heavy["reason"] == {"kind": "together", "anchor": "item-000", "text": "because you bought 商品 0"}


def test_of_equal_pulls_the_newest_history_item_is_the_anchor(build: Any, folder: str, tmp_path: Path) -> None:
    (row,) = rerank(build, folder, [scored([4], [COVISITATION], [0, 1], history_weights=[1.0, 0.5])], tmp_path)
    assert row["reason"]["anchor"] == "item-000"


def test_each_row_is_explained_by_its_own_source_and_place(build: Any, folder: str, tmp_path: Path) -> None:
    rows = rerank(build, folder, [scored([4, 3, 2], [COVISITATION, POPULARITY, CONTENT], [0])], tmp_path)
    assert [(row["rank"], row["item"]) for row in rows] == [(1, "item-004"), (2, "item-003"), (3, "item-002")]
    assert [row["reason"]["kind"] for row in rows] == ["together", "popular", "similar"]
    assert [row["reason"]["anchor"] for row in rows] == ["item-000", None, "item-000"]


@pytest.mark.parametrize(
    ("kind", "source", "reason"),
    [
        ("item", CONTENT, {"kind": "similar", "anchor": "item-000", "text": "similar to 商品 0"}),
        ("item", COVISITATION, {"kind": "together", "anchor": "item-000", "text": "often bought with 商品 0"}),
        ("request", COVISITATION, {"kind": "together", "anchor": "item-000", "text": "goes with 商品 0"}),
        ("user", POPULARITY, {"kind": "popular", "anchor": None, "text": "popular with other customers"}),
    ],
)
def test_the_kind_of_list_chooses_the_sentence(
    build: Any, folder: str, tmp_path: Path, kind: str, source: int, reason: dict[str, Any]
) -> None:
    # Item 2 is like item 0, item 4 follows it.
    (row,) = rerank(build, folder, [scored([2 if source == CONTENT else 4], [source], [0])], tmp_path, kind=kind)
    assert row["reason"] == reason


def test_an_item_never_explains_itself(build: Any, folder: str, tmp_path: Path) -> None:
    # Item 0 was bought before: item 2, which is like it, is the next best reason; without another item there is the
    # purchase itself.
    both = scored([0], [CONTENT], [0, 2], key="both")
    alone = scored([0], [CONTENT], [0], key="alone", history_codes=[PURCHASE])
    looked_at = scored([0], [CONTENT], [0], key="looked at", history_codes=[VIEW])
    rows = rerank(build, folder, [both, alone, looked_at], tmp_path)
    assert [row["reason"]["anchor"] for row in rows] == ["item-002", None, None]
    assert [row["reason"]["kind"] for row in rows] == ["similar", "again", "again"]
    assert [row["reason"]["text"] for row in rows[1:]] == ["you bought it before", "you looked at it before"]


def test_nothing_is_like_what_it_has_nothing_in_common_with(build: Any, folder: str, tmp_path: Path) -> None:
    # Item 4 stands at a right angle to item 2, and nobody acted on both.
    (row,) = rerank(build, folder, [scored([4], [COVISITATION], [2])], tmp_path)
    assert row["reason"] == {"kind": "popular", "anchor": None, "text": "popular with other customers"}


def test_a_query_explains_its_own_items(build: Any, folder: str, tmp_path: Path) -> None:
    rows = rerank(build, folder, [scored([2, 3], [CONTENT, POPULARITY], [], key="蓝牙")], tmp_path, kind="query")
    assert [row["reason"]["text"] for row in rows] == ['matches "蓝牙"', "popular with other customers"]
    assert [row["reason"]["anchor"] for row in rows] == ["蓝牙", None]


def test_a_request_by_query_does_not_call_its_matches_popular(build: Any, folder: str, tmp_path: Path) -> None:
    (row,) = rerank(build, folder, [scored([2], [CONTENT], [])], tmp_path, kind="request")
    assert row["sources"] == ["content"]
    assert row["reason"]["kind"] != "popular"


def test_sources_are_the_set_bits(build: Any, folder: str, tmp_path: Path) -> None:
    rows = rerank(build, folder, [scored([0, 1, 2, 3, 4], [CONTENT] * 5, [0], proposed=[1, 2, 4, 6, 7])], tmp_path)
    assert CANDIDATE_SOURCES[:3] == ("content", "covisitation", "popularity")
    assert [row["sources"] for row in rows] == [
        ["content"],
        ["covisitation"],
        ["popularity"],
        ["covisitation", "popularity"],
        ["content", "covisitation", "popularity"],
    ]


def test_a_profile_without_candidates_yields_nothing(build: Any, folder: str, tmp_path: Path) -> None:
    rows = [scored([], [], [0], key="none"), scored([2], [CONTENT], [0], key="one"), scored([], [], [], key="cold")]
    assert [row["key"] for row in rerank(build, folder, rows, tmp_path)] == ["one"]
    assert rerank(build, folder, rows[:1], tmp_path) == []
    assert rerank(build, folder, [], tmp_path) == []


def test_the_cap_holds_and_what_breaks_it_is_counted(build: Any, folder: str, tmp_path: Path) -> None:
    # Categories A A A B and none, one of A allowed: for four items one A too many is let in, at its own place.
    rows = [scored([0, 1, 2, 3, 4], [CONTENT] * 5, [0], key=key) for key in ("u", "v")]
    three = rerank(build, folder, rows, tmp_path / "three", top_n=3, category_cap=1)
    assert [row["item"] for row in three if row["key"] == "u"] == ["item-000", "item-003", "item-004"]
    assert [state["over_cap"] for state in read_progress(str(tmp_path / "three"))] == [0]
    four = rerank(build, folder, rows, tmp_path / "four", top_n=4, category_cap=1, cuts=[1])
    assert [row["item"] for row in four if row["key"] == "v"] == ["item-000", "item-001", "item-003", "item-004"]
    assert [row["score"] for row in four if row["key"] == "v"] == pytest.approx([1, 1 / 2, 1 / 4, 1 / 5])
    assert [state["over_cap"] for state in read_progress(str(tmp_path / "four"))] == [2]


def test_a_brand_is_capped_as_a_category_is(build: Any, tmp_path: Path) -> None:
    shop = build.make_shop(VECTORS, brands=["X", "X", "Y", "X", None])
    folder = build.write_shop(tmp_path / "i", shop)
    rows = rerank(build, folder, [scored([0, 1, 2, 3, 4], [CONTENT] * 5, [])], tmp_path / "p", top_n=3, brand_cap=1)
    assert [row["item"] for row in rows] == ["item-000", "item-002", "item-004"]


def test_diversity_takes_what_is_unlike_and_keeps_the_order(build: Any, folder: str, tmp_path: Path) -> None:
    # Items 0 and 2 are alike (0.8), item 4 is like neither; the scores are 1, 1/2, 1/3.
    candidates = [scored([0, 2, 4], [CONTENT] * 3, [])]
    plain = rerank(build, folder, candidates, tmp_path / "plain", top_n=2)
    assert [row["item"] for row in plain] == ["item-000", "item-002"]
    # Worth beside item 0: item 2 0.5 * (1/2 - 1/3) / (2/3) - 0.5 * 0.8, item 4 0.
    varied = rerank(build, folder, candidates, tmp_path / "varied", top_n=2, diversity=0.5)
    assert [(row["item"], row["rank"]) for row in varied] == [("item-000", 1), ("item-004", 2)]
    assert [row["score"] for row in varied] == pytest.approx([1, 1 / 3])
    assert [state["varied"] for state in read_progress(str(tmp_path / "varied"))] == [1]


def test_a_boost_moves_an_item_by_its_share_of_the_range(build: Any, folder: str, tmp_path: Path) -> None:
    boosts = pa.table({"item_index": pa.array([4, 0, 99], pa.int32()), "boost": [0.8, -0.1, 1.0]})
    (tmp_path / "boosts").mkdir()
    pq.write_table(boosts, tmp_path / "boosts/part-0.parquet")
    task = RerankCandidates(folder, "user", Rerank(top_n=2), 1.0, str(tmp_path / "p"), (), str(tmp_path / "boosts"))
    rows = pa.Table.from_pylist([scored([0, 2, 4], [CONTENT] * 3, [0])], schema=SCORED)
    made = build.run_task(task, rows).to_pylist()
    # The scores 1, 1/2, 1/3 have the range 2/3.
    assert [row["item"] for row in made] == ["item-000", "item-004"]
    assert [row["score"] for row in made] == pytest.approx([1 - 0.1 * 2 / 3, 1 / 3 + 0.8 * 2 / 3])
    assert [state["boosted"] for state in read_progress(str(tmp_path / "p"))] == [2]


@settings(derandomize=True, max_examples=10, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 12), st.integers(0, 3), st.lists(st.integers(0, 12), max_size=3))
def test_from_profiles_to_lists_every_invariant_holds(
    build: Any, random_shop: tuple[Any, str], progress: str, seed: int, top_n: int, cap: int, cuts: list[int]
) -> None:
    shop, folder = random_shop
    rng = np.random.default_rng(seed)
    profiles = {}
    for place in range(12):
        history = rng.permutation(shop.num_items)[: rng.integers(0, 5)].tolist()
        profiles[f"u{place}"] = {
            "history": history,
            "seen": rng.permutation(shop.num_items)[: rng.integers(0, 9)].tolist(),
        }
    rows = [
        {
            "key": key,
            "history_weights": [1.0] * len(p["history"]),
            "history_codes": [VIEW] * len(p["history"]),
            "vector": None,
        }
        | p
        for key, p in profiles.items()
    ]
    config = Retrieve(
        content=Content(candidates=8, calibration="zscore"),
        covisitation=Covisitation(candidates=8, calibration="max"),
        popularity=Popularity(candidates=8),
    )
    candidates = build.run_task(
        RetrieveCandidates(folder, config, "cpu", 0, progress), pa.Table.from_pylist(rows, schema=PROFILES), cuts
    )
    ranked = build.run_task(RankCandidates(config, progress), candidates, cuts)
    task = RerankCandidates(folder, "user", Rerank(top_n=top_n, category_cap=cap), 2.0, progress)
    lists = build.run_task(task, ranked, cuts)
    assert lists.equals(build.run_task(task, ranked))
    num_candidates = dict(zip(ranked["key"].to_pylist(), map(len, ranked["items"].to_pylist()), strict=True))
    for key, profile in profiles.items():
        shown = [row for row in lists.to_pylist() if row["key"] == key]
        items = [int(row["item"].removeprefix("item-")) for row in shown]
        assert [row["rank"] for row in shown] == list(range(1, min(top_n, num_candidates[key]) + 1))
        assert len(items) == len(set(items))
        assert all(shop.eligible[item] for item in items)
        assert not set(items) & set(profile["seen"])
        scores = [row["score"] for row in shown]
        assert np.isfinite(scores).all()
        assert scores == sorted(scores, reverse=True)
        history_ids = {shop.item_id(item) for item in profile["history"]}
        for row in shown:
            assert row["sources"]
            assert row["reason"]["text"]
            assert (row["reason"]["anchor"] in history_ids) != (row["reason"]["kind"] in {"popular", "again"})
            assert row["reason"]["anchor"] != row["item"]


@pytest.fixture(scope="module")
def random_shop(build: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, str]:
    shop = build.draw_shop(seed=4)
    return shop, build.write_shop(tmp_path_factory.mktemp("random") / "i", shop)


@pytest.fixture(scope="module")
def progress(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tmp_path_factory.mktemp("progress"))
