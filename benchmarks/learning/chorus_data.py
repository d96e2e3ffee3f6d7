"""The electronics shop of the search experiments: its texts, its graded judgments, folds, and features of a library."""

import csv
import gzip
import json
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from recsys_batch.rules.metrics.ranking import graded_ndcg
from recsys_batch.rules.texts.clean import clean_text

FOLDS = 5
DEPTH = 10


@dataclass(frozen=True)
class Shop:
    """Products by index, and queries with `grades` of some of them (0 to 3)."""

    products: list[dict[str, object]]
    titles: list[str]
    texts: list[str]
    queries: list[str]
    grades: list[dict[int, float]]
    fold_Q: np.ndarray

    @property
    def judged(self) -> np.ndarray:
        """Every product that some query has a grade of."""
        return np.array(sorted({product for found in self.grades for product in found}))


def load_shop(data: Path, seed: int) -> Shop:
    """Read the products and judgments, and deal the queries into folds."""
    folder = data / "chorus_electronics"
    with gzip.open(folder / "products.jsonl.gz", "rt", encoding="utf-8") as stream:
        products = [json.loads(line) for line in stream]
    index = {product["item_id"]: row for row, product in enumerate(products)}
    grades: dict[str, dict[int, float]] = {}
    with (folder / "judgments.csv").open(encoding="utf-8", newline="") as stream:
        for row in csv.DictReader(stream):
            grades.setdefault(row["query"], {})[index[row["item_id"]]] = float(row["rating"])
    queries = sorted(grades)
    titles = [clean_text(product["title"]) for product in products]
    texts = [
        f"{title}. {clean_text(product['short_description'])}" for title, product in zip(titles, products, strict=True)
    ]
    return Shop(products, titles, texts, queries, [grades[query] for query in queries], deal_folds(queries, seed))


def deal_folds(queries: list[str], seed: int) -> np.ndarray:
    """Return each query's fold. Spellings of one query (`head set`, `headset`, `headsets`) share a fold, so that no
    query is tested by a model that was fitted on it in another spelling.
    """
    keys = [query.replace(" ", "").rstrip("s") for query in queries]
    distinct = sorted(set(keys))
    order = np.random.default_rng(seed).permutation(len(distinct))
    fold_of = {distinct[place]: number % FOLDS for number, place in enumerate(order)}
    return np.array([fold_of[key] for key in keys])


def measure(shop: Shop, scores_QI: np.ndarray, *, judged_alone: bool, rows: np.ndarray | None = None) -> np.ndarray:
    """Return the NDCG@10 of all queries, or of `rows`: of the ranking of all products, unjudged ones counting 0, or of
    the judged ones alone. The gain is 2**grade - 1; NaN where nothing is relevant. Ties go to the product that comes
    first.
    """
    chosen = range(len(shop.queries)) if rows is None else rows
    return np.array([_measure_one(scores_QI[row], shop.grades[row], judged_alone) for row in chosen])


def _measure_one(scores_I: np.ndarray, grades: dict[int, float], judged_alone: bool) -> float:
    candidates = np.array(sorted(grades)) if judged_alone else np.arange(len(scores_I))
    ranked = candidates[np.argsort(-scores_I[candidates], kind="stable")][:DEPTH]
    return graded_ndcg(
        np.array([grades.get(int(product), 0.0) for product in ranked]), np.array(list(grades.values())), DEPTH
    )


def fuse_ranks(*score_tables: np.ndarray, constant: int = 60) -> np.ndarray:
    """Return the reciprocal-rank fusion (Cormack et al., 2009) over all products."""
    return sum(1.0 / (constant + rank_scores(scores_QI)) for scores_QI in score_tables)  # type: ignore[return-value]


def rank_scores(scores_QI: np.ndarray) -> np.ndarray:
    """Return ranks from 1, the first product first among ties."""
    return np.argsort(np.argsort(-scores_QI, axis=1, kind="stable"), axis=1, kind="stable") + 1


class Words:
    """BM25 of bm25s (its defaults: Lucene's variant, k1 1.5, b 0.75; English stop words, Snowball stems)."""

    def __init__(self) -> None:
        """Load the stemmer."""
        import Stemmer

        self._stemmer = Stemmer.Stemmer("english")

    def bm25(self, texts: list[str], queries: list[str]) -> np.ndarray:
        """Return scores (Q, I)."""
        import bm25s

        options = {"stopwords": "en", "stemmer": self._stemmer, "show_progress": False}
        index = bm25s.BM25()
        index.index(bm25s.tokenize(texts, **options), show_progress=False)
        tokens = bm25s.tokenize(queries, return_ids=False, **options)
        return np.stack([index.get_scores(found) for found in tokens]).astype(np.float32)

    def coverage(self, texts: list[str], queries: list[str]) -> np.ndarray:
        """Return the share of each query's stems that a text holds (Q, I)."""
        stems = [self._stems(text) for text in texts]
        found = [self._stems(query) for query in queries]
        return np.array([[len(words & other) / max(1, len(words)) for other in stems] for words in found], np.float32)

    def _stems(self, text: str) -> set[str]:
        return set(self._stemmer.stemWords(re.findall(r"[a-z0-9]+", text.lower())))


def word_features(shop: Shop) -> dict[str, np.ndarray]:
    """Return what words alone say of every query and product (Q, I), by name."""
    words = Words()
    everything = [
        f"{text} {product['supplier']} " + " ".join(f"{name} {value}" for name, value in product["attributes"].items())
        for text, product in zip(shop.texts, shop.products, strict=True)
    ]
    descriptions = [clean_text(product["short_description"]) for product in shop.products]
    names = [f"{product['name']} {product['supplier']}" for product in shop.products]
    return {
        "bm25": words.bm25(shop.texts, shop.queries),
        "bm25_title": words.bm25(shop.titles, shop.queries),
        "bm25_description": words.bm25(descriptions, shop.queries),
        "bm25_name": words.bm25(names, shop.queries),
        "bm25_everything": words.bm25(everything, shop.queries),
        "coverage_title": words.coverage(shop.titles, shop.queries),
        "coverage_everything": words.coverage(everything, shop.queries),
    }


def title_phrases(titles: list[str], min_count: int = 8, longest: int = 3) -> list[list[str]]:
    """Return each title's phrases: runs of plain words cut, longest first, into word sequences that at least
    `min_count` titles hold. `notebook case` is one phrase and no `notebook`.
    """
    runs = [[run.split() for run in _plain_runs(title)] for title in titles]
    counts: dict[str, int] = {}
    for of_title in runs:
        sequences = {
            " ".join(run[start : start + size])
            for run in of_title
            for size in range(1, longest + 1)
            for start in range(len(run) - size + 1)
        }
        for sequence in sequences:
            counts[sequence] = counts.get(sequence, 0) + 1
    return [sorted({p for run in of_title for p in _cut(run, counts, min_count, longest)}) for of_title in runs]


def _plain_runs(title: str) -> list[str]:
    words = [word if re.fullmatch(r"[a-z][a-z\-]+", word) else "|" for word in title.lower().split()]
    return [run for run in " ".join(words).split("|") if run.strip()]


def _cut(run: list[str], counts: dict[str, int], min_count: int, longest: int) -> list[str]:
    found, start = [], 0
    while start < len(run):
        for size in range(min(longest, len(run) - start), 0, -1):
            phrase = " ".join(run[start : start + size])
            if counts[phrase] >= min_count:
                found.append(phrase)
                start += size - 1
                break
        start += 1
    return found
