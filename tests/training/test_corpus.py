"""Texts to pre-train on: each once, the held-out ones always the same, from every kind of file."""

import gzip
from pathlib import Path

import pyarrow as pa
import pyarrow.feather as feather
import pyarrow.parquet as pq
import pytest

from recsys_batch.contracts.errors import ConfigError, InputNotReadyError
from recsys_batch.contracts.example_schemas import ExampleTables
from recsys_batch.training.examples.files import ExampleFiles
from recsys_batch.training.pretrain.corpus import Corpus, EmptyCorpusError, read_texts, texts_of_examples
from tests.training.small_corpus import shop_texts

TEXTS = shop_texts(400)


def test_each_text_once_and_clean() -> None:
    corpus = Corpus.from_texts(["<b>红色</b>手机", "红色 手机", "  red\tmug ", "red mug", None, "", "Ｒｅｄ mug"], 0.0)
    assert set(corpus.train) == {"红色 手机", "red mug", "Red mug"}
    assert corpus.held_out == ()


def test_a_text_keeps_its_part_whatever_else_there_is() -> None:
    whole = Corpus.from_texts(TEXTS, 0.1)
    assert sorted(whole.train + whole.held_out) == sorted(TEXTS)
    # 40 are expected; five standard deviations are 30.
    assert 10 <= len(whole.held_out) <= 70
    again = Corpus.from_texts(reversed([*TEXTS, *TEXTS]), 0.1)
    assert again == whole
    assert again.version == whole.version
    half = Corpus.from_texts(TEXTS[:200], 0.1)
    assert set(half.held_out) == set(whole.held_out) & set(TEXTS[:200])
    assert half.version != whole.version
    # A larger share holds out more, and all that a smaller one did.
    assert set(whole.held_out) < set(Corpus.from_texts(TEXTS, 0.3).held_out)


def test_nothing_to_train_on() -> None:
    with pytest.raises(EmptyCorpusError, match=r"no text to train on .0 distinct"):
        Corpus.from_texts(["", None, " "])
    with pytest.raises(EmptyCorpusError, match="1 distinct ones, of which a share of 1 is held out"):
        Corpus.from_texts(["red mug"], 1.0)


def test_every_format_gives_the_same_texts(tmp_path: Path) -> None:
    table = pa.table({"name": ["红色手机", "mug", None], "brief": ["好", None, None], "price": [1, 2, 3]})
    pq.write_table(table, tmp_path / "a.parquet")
    (tmp_path / "folder").mkdir()
    pq.write_table(table, tmp_path / "folder" / "part.parquet")
    feather.write_feather(table, tmp_path / "a.feather")
    (tmp_path / "a.csv").write_text("\ufeffname,brief,price\n红色手机,好,1\nmug,,2\n,,3\n", encoding="utf-8")
    with gzip.open(tmp_path / "a.tsv.gz", "wt", encoding="utf-8") as stream:
        stream.write("name\tbrief\tprice\n红色手机\t好\t1\nmug\t\t2\n\t\t3\n")
    for name in ("a.parquet", "folder", "a.feather", "a.csv", "a.tsv.gz"):
        assert list(read_texts(tmp_path / name, ["name", "brief"])) == ["红色手机 好", "mug", ""]
    (tmp_path / "a.txt").write_text("红色手机\nmug\n", encoding="utf-8")
    assert list(read_texts(tmp_path / "a.txt")) == ["红色手机", "mug"]


def test_what_cannot_be_read_says_so(tmp_path: Path) -> None:
    with pytest.raises(InputNotReadyError, match=r"gone\.txt: no such file"):
        list(read_texts(tmp_path / "gone.txt"))
    (tmp_path / "a.csv").write_text("name,price\nmug,1\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="columns of text title; the file has name, price"):
        list(read_texts(tmp_path / "a.csv", ["title"]))
    with pytest.raises(ConfigError, match="columns of text none named"):
        list(read_texts(tmp_path / "a.csv"))
    (tmp_path / "a.doc").write_text("mug", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"a\.doc: format '\.doc' is not read"):
        list(read_texts(tmp_path / "a.doc"))


def test_texts_of_an_exported_dataset_are_those_that_training_may_read(tmp_path: Path) -> None:
    def write(table: str, part: str, rows: list[dict[str, object]]) -> None:
        folder = tmp_path / table / f"split={part}"
        folder.mkdir(parents=True)
        pq.write_table(pa.Table.from_pylist(rows, ExampleTables.SCHEMAS[table]), folder / "rows.parquet")
        (tmp_path / table / "_SUCCESS").touch()

    write("items", "train", [{"item_id": "1", "text": "红色手机", "category": None}])
    write("items", "test", [{"item_id": "2", "text": "secret", "category": None}])
    write("query_items", "train", [{"query": "手机", "item_id": "1", "weight": 1.0}])
    write(
        "ratings",
        "train",
        [{"item_id": "1", "text": None, "rating": 3.0}, {"item_id": "1", "text": "很好", "rating": 5.0}],
    )
    assert list(texts_of_examples(ExampleFiles(str(tmp_path)))) == ["红色手机", "手机", "很好"]
