"""Search on the workers: the words of a small shop are indexed, queries read, and their lists made and explained."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.testing import assert_allclose

from recsys_batch.contracts.columns import CANDIDATE_SOURCES, POPULARITY, SEARCHERS, WORDS
from recsys_batch.contracts.config.night import Popularity, Rerank, Retrieve
from recsys_batch.contracts.config.search import Search, SearchFields, SearchWeights
from recsys_batch.contracts.schemas import PROFILES, UNDERSTOOD
from recsys_batch.workers.chain import Chain
from recsys_batch.workers.rank import RankCandidates
from recsys_batch.workers.rerank import RerankCandidates
from recsys_batch.workers.retrieve import RetrieveCandidates
from recsys_batch.workers.search.index import WriteSearchIndex, read_search_index
from recsys_batch.workers.search.rank import RankQueries
from recsys_batch.workers.search.scores import ACTS_AFTER
from recsys_batch.workers.search.understand import UnderstandQueries

FIELDS = ("title", "brand", "category", "description", "attributes")
ITEMS = (
    {"title": "Wireless headphones", "brand": "Sony", "category": "Audio"},
    {"title": "Wireless mouse", "category": "Computers", "description": "Silent, for laptops"},
    {"title": "Headphones stand", "category": "Audio", "attributes": "color black"},
    {"title": "华为 P30 手机", "brand": "华为", "category": "Phones"},
    {"title": "华为手机壳", "category": "Cases"},
    {"title": "Garden hose"},
)
# The first two dimensions are what a query means; the third is a history's.
VECTORS = [[1, 0, 0], [0.6, 0.8, 0], [0.8, 0, 0.6], [0, 1, 0], [0, 0.8, 0.6], [0, 0, 1]]
SEARCH = Search(candidates=10, weights=SearchWeights(meaning=0.5, acts=0.5, personal=0.2, category=0.1, popularity=0.0))


@pytest.fixture(scope="module")
def folders(build: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """The folders of the item index and of the search index."""
    root = tmp_path_factory.mktemp("search")
    shop = build.make_shop(
        VECTORS, popularity=[1.0, 3.0, 0.0, 2.0, 0.0, 0.0], eligible=[True, True, True, True, True, False]
    )
    index = build.write_shop(root / "index", shop)
    acts = {"query": ["silence", "gone"], "item_index": pa.array([1, 99], pa.int32()), "weight": [2.0, 1.0]}
    Path(index, ACTS_AFTER).mkdir()
    pq.write_table(pa.table(acts), Path(index, ACTS_AFTER, "part.parquet"))
    write_search(build, str(root / "words"))
    return index, str(root / "words")


def write_search(build: Any, folder: str, search: Search = SEARCH, cuts: Any = ()) -> dict[str, Any]:
    rows = [{"item_index": place, **{name: item.get(name) for name in FIELDS}} for place, item in enumerate(ITEMS)]
    schema = pa.schema([("item_index", pa.int32()), *((name, pa.string()) for name in FIELDS)])
    return build.run_task(WriteSearchIndex(folder, search), pa.Table.from_pylist(rows, schema), cuts).to_pylist()[0]


def understand(build: Any, folder: str, queries: list[str], search: Search = SEARCH) -> list[dict[str, Any]]:
    task = UnderstandQueries(folder, search, 2)
    return build.run_task(task, pa.table({"query": queries})).to_pylist()


def lists(
    build: Any, folders: tuple[str, str], asked: list[dict[str, Any]], progress: Path, **rules: Any
) -> dict[str, list[dict[str, Any]]]:
    """Return the list of each profile; `asked` has the query, the vector and what else a profile is given."""
    index, words = folders
    read = understand(build, words, [one["query"] for one in asked if one.get("query")])
    known = {row["query"]: row for row in read}
    profiles = []
    for place, one in enumerate(asked):
        row = dict(known.get(one.get("query"), {}))
        if row and row["searched"] == row["query"]:
            row["searched"] = None
        row = {name: value for name, value in row.items() if name in PROFILES.names}
        plain = {"key": f"r{place}", "history": [], "history_weights": [], "history_codes": [], "seen": []}
        profiles.append(plain | row | one)
    retrieve = Retrieve(popularity=Popularity(candidates=2))
    tasks = Chain(
        RetrieveCandidates(index, retrieve, "cpu", 0, f"{progress}/a", search_folder=words, searched_candidates=10),
        Chain(
            RankQueries(SEARCH.weights, RankCandidates(retrieve, f"{progress}/b")),
            RerankCandidates(index, "request", Rerank(**rules), 2.0, f"{progress}/c", search_folder=words),
        ),
    )
    made: dict[str, list[dict[str, Any]]] = {}
    for row in build.run_task(tasks, pa.Table.from_pylist(profiles, schema=PROFILES)).to_pylist():
        made.setdefault(row["key"], []).append(row)
    return made


def items(rows: list[dict[str, Any]]) -> list[int]:
    return [int(row["item"].removeprefix("item-")) for row in rows]


def test_the_index_is_the_same_however_the_catalog_is_cut(build: Any, tmp_path: Path) -> None:
    write_search(build, str(tmp_path / "a"))
    write_search(build, str(tmp_path / "b"), cuts=(1, 4, 4))
    for name in ("terms.arrow", "postings.arrow", "words.arrow", "items.arrow"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes(), name


def test_holders_and_scores_are_those_of_the_texts(build: Any, folders: tuple[str, str]) -> None:
    index = read_search_index(folders[1])
    assert index.holders("wireless").tolist() == [0, 1]
    assert index.holders("headphon").tolist() == [0, 2]
    assert index.holders("audio").tolist() == [0, 2]
    assert index.holders("手机").tolist() == [3, 4]
    assert index.holders("nothing").tolist() == []
    assert index.word_counts["wireless"] == 2
    assert "p30" not in index.word_counts
    scores = index.score([["wireless", "headphon"], [], ["nothing"]], [[1.0, 0.5], [], [1.0]]).toarray()
    alone = {term: index.score([[term]], [[1.0]]).toarray()[0] for term in ("wireless", "headphon")}
    assert_allclose(scores[0], alone["wireless"] + 0.5 * alone["headphon"], rtol=1e-6)
    assert not scores[1:].any()


def test_a_field_of_weight_0_is_not_searched(build: Any, tmp_path: Path) -> None:
    search = SEARCH.model_copy(update={"fields": SearchFields(description=0.0)})
    write_search(build, str(tmp_path / "w"), search)
    assert read_search_index(str(tmp_path / "w")).holders("silent").tolist() == []


def test_what_is_understood(build: Any, folders: tuple[str, str]) -> None:
    queries = ["wireless headphones", "wirelss headphones", "华为手机", "sony p30 hose", "qwxzv", "headphones laptops"]
    read = {row["query"]: row for row in understand(build, folders[1], queries)}
    assert list(read) == queries
    assert UNDERSTOOD.names == list(read["qwxzv"])
    known = read["wireless headphones"]
    assert (known["searched"], known["corrections"], known["found_by"]) == ("wireless headphones", [], "all_words")
    # Of the three items with either word two are audio.
    assert (known["category"], known["num_items"]) == ("Audio", 3)
    assert known["category_share"] == pytest.approx(2 / 3)
    typo = read["wirelss headphones"]
    assert typo["searched"] == "wireless headphones"
    assert typo["corrections"] == [{"word": "wirelss", "becomes": "wireless"}]
    assert read["华为手机"]["brands"] == ["华为"]
    assert (
        read["sony p30 hose"] | {"brands": ["Sony"], "models": ["p30"], "found_by": "some_words"}
        == read["sony p30 hose"]
    )
    assert (read["qwxzv"]["found_by"], read["qwxzv"]["unknown"]) == ("nothing", ["qwxzv"])
    assert (known["known_share"], read["qwxzv"]["known_share"]) == (1.0, 0.0)
    # Of 鼠标 and 手机, each one pair of characters, the shop knows the second.
    (half,) = understand(build, folders[1], ["手机鼠标"])
    assert half["known_share"] == pytest.approx(0.5)
    # Each is known, no item has both.
    assert read["headphones laptops"]["found_by"] == "some_words"


def test_words_come_first_and_are_told(build: Any, folders: tuple[str, str], tmp_path: Path) -> None:
    (rows,) = lists(build, folders, [{"query": "wireless headphones", "vector": [0.0, 1.0, 0.0]}], tmp_path).values()
    assert items(rows)[0] == 0
    assert rows[0]["reason"] == {
        "kind": "words",
        "anchor": "wireless headphones",
        "text": 'has "wireless headphones"',
    }
    assert WORDS in rows[0]["sources"]
    some = next(row for row in rows if row["item"] == "item-001")
    assert some["reason"]["kind"] == "some_words"
    assert some["reason"]["text"] == 'has "wireless" of "wireless headphones"'
    # Item 5 is sold out, and every other one is in the list: nobody gets an empty one.
    assert sorted(items(rows)) == [0, 1, 2, 3, 4]
    assert all(first["score"] >= second["score"] for first, second in pairwise(rows))


def test_a_correction_is_told(build: Any, folders: tuple[str, str], tmp_path: Path) -> None:
    (rows,) = lists(build, folders, [{"query": "wirelss mouse", "vector": [1.0, 0.0, 0.0]}], tmp_path).values()
    assert rows[0]["item"] == "item-001"
    assert rows[0]["reason"]["text"] == 'has "wireless mouse" (for "wirelss mouse")'


def test_chinese_is_found_by_pairs(build: Any, folders: tuple[str, str], tmp_path: Path) -> None:
    (rows,) = lists(build, folders, [{"query": "华为手机", "vector": None}], tmp_path).values()
    assert set(items(rows)[:2]) == {3, 4}
    assert rows[items(rows).index(3)]["reason"]["text"] == 'has "华为手机"'


def test_what_nobody_understands_gets_what_means_the_same_or_what_is_popular(
    build: Any, folders: tuple[str, str], tmp_path: Path
) -> None:
    asked = [{"query": "qwxzv", "vector": [0.0, 1.0, 0.0]}, {"query": "♥♥", "vector": None}]
    meaning, nothing = lists(build, folders, asked, tmp_path).values()
    assert items(meaning)[0] == 3
    assert meaning[0]["reason"]["kind"] == "query"
    # By popularity, and items that nobody has bought yet behind.
    assert len(nothing) == 5
    assert {row["reason"]["kind"] for row in nothing} == {"popular"}
    assert all(row["sources"] == [POPULARITY] for row in nothing)


def test_what_came_of_the_query_before_counts(build: Any, folders: tuple[str, str], tmp_path: Path) -> None:
    (rows,) = lists(build, folders, [{"query": "silence", "vector": None}], tmp_path).values()
    assert rows[0]["item"] == "item-001"
    assert rows[0]["reason"]["kind"] == "searchers"
    assert SEARCHERS in rows[0]["sources"]


def test_a_request_with_history_and_query_uses_both(build: Any, folders: tuple[str, str], tmp_path: Path) -> None:
    query = {"query": "wireless", "vector": None}
    history = {"history": [2], "history_weights": [1.0], "history_codes": [2], "seen": [2]}
    alone, both, other = lists(
        build,
        folders,
        [query, query | history, query | {"history": [3], "history_weights": [1.0], "history_codes": [2], "seen": [3]}],
        tmp_path,
    ).values()
    # Items 0 and 1 both say wireless, in titles of one length; the history decides which comes first.
    assert items(alone)[:2] == [0, 1]
    assert items(both)[:2] == [0, 1]
    assert items(other)[:2] == [1, 0]
    assert 2 not in items(both)
    assert 3 not in items(other)


def test_profiles_without_a_query_are_ranked_as_ever(build: Any, folders: tuple[str, str], tmp_path: Path) -> None:
    basket = {"query": None, "vector": None, "history": [0], "history_weights": [1.0], "history_codes": [2]}
    mixed = lists(build, folders, [basket, {"query": "hose", "vector": None}], tmp_path / "a")
    alone = lists(build, folders, [basket], tmp_path / "b")
    assert mixed["r0"] == alone["r0"]
    assert not {"words", "some_words"} & {row["reason"]["kind"] for row in mixed["r0"]}


def test_every_row_of_a_query_has_a_source_that_proposed_it(
    build: Any, folders: tuple[str, str], tmp_path: Path
) -> None:
    asked = [{"query": query, "vector": [0.0, 0.6, 0.8]} for query in ("wireless", "手机", "qwxzv", "audio")]
    for rows in lists(build, folders, asked, tmp_path).values():
        assert all(row["sources"] and set(row["sources"]) <= set(CANDIDATE_SOURCES) for row in rows)
        assert [row["rank"] for row in rows] == list(range(1, len(rows) + 1))


def test_an_index_of_another_catalog_is_refused(build: Any, folders: tuple[str, str], tmp_path: Path) -> None:
    shop = build.make_shop(VECTORS[:3])
    index = build.write_shop(tmp_path / "index", shop)
    Path(index, ACTS_AFTER).mkdir()
    pq.write_table(
        pa.table({"query": [""], "item_index": pa.array([0], pa.int32()), "weight": [1.0]}),
        f"{index}/{ACTS_AFTER}/p.parquet",
    )
    with pytest.raises(ValueError, match="of another catalog"):
        lists(build, (index, folders[1]), [{"query": "hose", "vector": None}], tmp_path / "p")


def test_scores_do_not_depend_on_the_block(build: Any, folders: tuple[str, str]) -> None:
    index = read_search_index(folders[1])
    queries = [["wireless"], ["headphon", "hose"], [], ["手机"]]
    weights = [[1.0] * len(terms) for terms in queries]
    whole = index.score(queries, weights).toarray()
    single = [index.score([terms], [each]).toarray()[0] for terms, each in zip(queries, weights, strict=True)]
    assert np.array_equal(whole, np.stack(single))
