"""The Chinese experiment's data: no sentence of the test part is trained on, no pair gives the test query away."""

from pathlib import Path

import numpy as np

from benchmarks.learning.chinese_data import Goods, load_titles, make_pairs
from recsys_batch.training.pretrain.words import WordSplitter

TEXTS = [
    "华为 p30 手机 黑色",
    "华为 mate 手机 红色",
    "华为手机壳",
    "苹果 iphone 手机 黑色",
    "小米 手机 红色",
    "口红 红色",
]


def flags(*rows: int) -> np.ndarray:
    return np.isin(np.arange(len(TEXTS)), rows)


def test_sentences_of_other_parts_are_left_out(tmp_path: Path) -> None:
    def block(text: str, tag: str) -> str:
        return "\n".join(f"{character} {tag}" for character in text)

    parts = {
        "train": [("手机", "O"), ("手机", "B-HCCX"), ("口红", "O"), ("红色", "O"), ("手机壳", "O")],
        "dev": [("口红", "O"), ("红色", "O"), ("红色", "O")],
        "test": [("红色", "O"), ("红色", "O")],
    }
    for part, rows in parts.items():
        content = "\n\n".join(block(*row) for row in rows) + "\n\n"
        (tmp_path / f"taobao_title_ner.{part}.txt").write_text(content, encoding="utf-8")
    found = load_titles(tmp_path)
    texts = {part: ["".join(words) for words in rows.words] for part, rows in found.items()}
    assert texts == {"train": ["手机", "手机壳"], "dev": ["口红"], "test": ["红色", "红色"]}
    assert found["train"].tags[0] == ["O", "O"]  # of two ways the first


def test_no_pair_names_the_maker_and_the_thing_of_the_test_query() -> None:
    goods = Goods(
        TEXTS,
        ["华为手机", "华为手机", "", "iPhone", "小米手机", "口红"],
        is_huawei_phone=flags(0, 1),
        is_huawei_accessory=flags(2),
        is_other_phone=flags(3, 4),
    )
    made = make_pairs(goods, WordSplitter(), 500, seed=0)
    assert len(made.pairs) == 500
    assert not any(("华为" in query or "huawei" in query) and "手机" in query for query in made.queries)
    right: dict[str, set[int]] = {}
    for query, good in zip(made.also_right.query_P, made.also_right.document_P, strict=True):
        right.setdefault(made.queries[query], set()).add(int(good))
    # A brand's name and 手机 belong to the phones of its category alone.
    assert right["小米手机"] == {4}
    assert right["苹果手机"] == {3}
    # Words of a title belong to every title that has them; here each character is a word.
    assert right["红"] == {1, 4, 5}
    assert all(int(good) in right[made.queries[query]] for query, good in zip(*pairs_of(made), strict=True))
    again = make_pairs(goods, WordSplitter(), 500, seed=0)
    assert (again.queries, again.pairs.document_P.tolist()) == (made.queries, made.pairs.document_P.tolist())


def pairs_of(made) -> tuple[list[int], list[int]]:
    return made.pairs.query_P.tolist(), made.pairs.document_P.tolist()
