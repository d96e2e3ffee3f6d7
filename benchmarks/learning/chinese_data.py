"""What the Chinese experiment reads (queries, reviews, tagged titles, a shop's goods), and the pairs made of it."""

import csv
import gzip
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from recsys_batch.rules.texts.clean import clean_text
from recsys_batch.training.examples.columns import TaggedTexts
from recsys_batch.training.examples.negatives import Pairs
from recsys_batch.training.pretrain.corpus import Corpus, read_texts
from recsys_batch.training.pretrain.words import WordSplitter

TEST_QUERY = "华为手机"
PHONE_CATEGORY = "华为手机"
_EVERY_REVIEW = 8
_HUAWEI = re.compile("华为|huawei", re.IGNORECASE)
_ACCESSORY = re.compile("耳机|耳麦|壳|膜|保护套|充电|数据线|支架|表带")
_CASE = re.compile("壳|膜|保护套")
_BRANDS = {"iPhone": ("苹果", "iphone", "apple"), "小米手机": ("小米", "红米", "redmi"), "荣耀手机": ("荣耀",)}


def read_tagged(file: Path) -> list[tuple[tuple[str, ...], tuple[str, ...]]]:
    """Return the sentences of a file with a character and its tag a line, blank lines between them."""
    blocks = file.read_text(encoding="utf-8").split("\n\n")
    rows = [[line.rsplit(" ", 1) for line in block.split("\n") if line] for block in blocks]
    return [(tuple(word for word, _ in row), tuple(tag for _, tag in row)) for row in rows if row]


def published_titles(folder: Path) -> dict[str, TaggedTexts]:
    """Return train, dev and test as the files have them, sentences that stand in several of them too: what published
    figures are measured on.
    """
    return {part: _as_texts(rows) for part, rows in _read_parts(folder).items()}


def load_titles(folder: Path) -> dict[str, TaggedTexts]:
    """Return train, dev and test without repetitions. A sentence of the test part is in neither of the others, one of
    the dev part not in the train part: in the files half of them are.
    """
    parts = _read_parts(folder)
    seen: set[tuple[str, ...]] = set()
    kept = {}
    for part, rows in parts.items():
        # Of a sentence that is tagged in two ways the first counts.
        distinct = {words: tags for words, tags in reversed(rows) if words not in seen}
        seen.update(distinct)
        ordered = sorted(distinct)
        kept[part] = TaggedTexts([list(words) for words in ordered], [list(distinct[words]) for words in ordered])
    # The test part stays as published: scores on it can be compared.
    return kept | {"test": _as_texts(parts["test"])}


def _read_parts(folder: Path) -> dict[str, list[tuple[tuple[str, ...], tuple[str, ...]]]]:
    return {part: read_tagged(folder / f"taobao_title_ner.{part}.txt") for part in ("test", "dev", "train")}


def _as_texts(rows: list[tuple[tuple[str, ...], tuple[str, ...]]]) -> TaggedTexts:
    return TaggedTexts([list(words) for words, _ in rows], [list(tags) for _, tags in rows])


def read_queries(folder: Path) -> list[str]:
    """Return the real queries, in the file's order."""
    with gzip.open(folder / "taobao_queries.tsv.gz", "rt", encoding="utf-8") as stream:
        return [line.rstrip("\n").split("\t")[1] for line in stream]


def load_corpus(folder: Path, titles: TaggedTexts, held_out_share: float, quick: bool) -> Corpus:
    """Return all bare text, of the tagged titles those to train on."""

    def texts() -> Iterator[str]:
        yield from read_queries(folder)[: 3000 if quick else None]
        yield from ("".join(words) for words in titles.words)
        yield from read_texts(folder / "newbee_goods.csv", ["name", "intro"])
        yield from read_texts(folder / "litemall_goods.csv", ["name", "brief"])
        yield from read_texts(folder / "litemall_comments.csv", ["content"])
        if not quick:
            reviews = list(read_texts(folder / "shopping_reviews.csv.gz", ["review"]))
            yield from reviews[::_EVERY_REVIEW]

    return Corpus.from_texts(texts(), held_out_share)


@dataclass(frozen=True)
class Goods:
    """Products by index, and what they are for the test query.

    A Huawei phone is a product of category 46 (华为手机). By titles the same 67 are found: those that name 华为 or
    HUAWEI and no accessory (`_ACCESSORY`); the loader checks that both rules agree. Honor's phones (category 45), then
    a brand of the same maker, count as other phones.
    """

    texts: list[str]
    categories: list[str]
    is_huawei_phone: np.ndarray
    is_huawei_accessory: np.ndarray
    is_other_phone: np.ndarray


def load_goods(folder: Path, tagged: dict[str, TaggedTexts]) -> Goods:
    """Read the shop's goods. It sells no cases, so what people call Huawei's accessories elsewhere is put on its
    shelves: tagged titles, and queries of cases and films, short and so the hardest to tell from the test query.
    """
    with (folder / "newbee_goods.csv").open(encoding="utf-8-sig", newline="") as stream:
        rows = list(csv.DictReader(stream))
    texts = [clean_text(f"{row['name']} {row['intro'].replace('新蜂精选', '')}") for row in rows]
    categories = [row["category"] for row in rows]
    more = {
        clean_text("".join(words)) for part in tagged.values() for words in part.words if _is_accessory("".join(words))
    }
    more |= {clean_text(query) for query in read_queries(folder) if _HUAWEI.search(query) and _CASE.search(query)}
    texts += sorted(more)
    categories += [""] * len(more)
    is_phone = np.array([category == PHONE_CATEGORY for category in categories])
    is_accessory = np.array([_is_accessory(text) for text in texts]) & ~is_phone
    by_title = np.array([bool(_HUAWEI.search(text)) and not _ACCESSORY.search(text) for text in texts])
    if (by_title != is_phone).any():
        wrong = [texts[row] for row in np.flatnonzero(by_title != is_phone)]
        raise ValueError(f"title rule and category disagree on {wrong}")
    is_other = np.array([category in _BRANDS for category in categories])
    return Goods(texts, categories, is_phone, is_accessory, is_other)


def _is_accessory(text: str) -> bool:
    return bool(_HUAWEI.search(text) and _ACCESSORY.search(text))


@dataclass(frozen=True)
class MadePairs:
    """Queries made from titles, pairs with goods, and every good that a query is right for."""

    queries: list[str]
    pairs: Pairs
    also_right: Pairs


def make_pairs(goods: Goods, words: WordSplitter, num_pairs: int, seed: int) -> MadePairs:
    """Return pairs of which a third are a brand's name and 手机 with its phones, the others one to three words of a
    title, in its order, with that product.

    A query is right for all goods that hold its words, and for all phones of its brand. No query holds both Huawei's
    name and 手机, in whatever order.
    """
    rng = np.random.default_rng(seed)
    split = [[word for word in words.words(text.lower()) if re.search(r"\w", word)] for text in goods.texts]
    phones = np.flatnonzero(goods.is_other_phone)
    table: list[tuple[str, int]] = []
    right: dict[str, list[int]] = {}
    while len(table) < num_pairs:
        if rng.random() < 1 / 3:
            good = int(rng.choice(phones))
            category = goods.categories[good]
            query = f"{rng.choice(_BRANDS[category])}手机"
            answers = [row for row in phones.tolist() if goods.categories[row] == category]
        else:
            good = int(rng.integers(len(goods.texts)))
            size = min(len(split[good]), int(rng.integers(1, 4)))
            chosen = [split[good][place] for place in np.sort(rng.choice(len(split[good]), size, replace=False))]
            query = "".join(chosen)
            answers = [row for row, found in enumerate(split) if set(chosen) <= set(found)]
        if not (_HUAWEI.search(query) and "手机" in query):
            table.append((query, good))
            right.setdefault(query, answers)
    index = {query: row for row, query in enumerate(sorted(right))}
    answered = [(index[query], good) for query, good in table]
    return MadePairs(list(index), _columns(answered), _columns([(index[q], row) for q in right for row in right[q]]))


def _columns(table: list[tuple[int, int]]) -> Pairs:
    table_P2 = np.array(table, dtype=np.int64).reshape(-1, 2)
    return Pairs(table_P2[:, 0].copy(), table_P2[:, 1].copy())
