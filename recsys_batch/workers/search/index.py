"""The words of a night's catalog: which items hold a term, and what that says of them (BM25).

One task writes the index, beside the item index and in its row order; every scoring worker maps it into memory.
Shapes: P profiles, I items, T terms.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import scipy.sparse as sp

from recsys_batch.contracts.config.search import Search
from recsys_batch.contracts.filesystem import open_folder
from recsys_batch.contracts.schemas import SEARCH_INDEX
from recsys_batch.rules.search.bm25 import bm25f
from recsys_batch.rules.search.words import document_terms, has_digit, is_run, make_stem, parts_of, words_of
from recsys_batch.rules.texts.clean import clean_text

IntArray = npt.NDArray[np.int64]
_POSTINGS, _TERMS, _WORDS, _ITEMS = "postings.arrow", "terms.arrow", "words.arrow", "items.arrow"


@dataclass(frozen=True)
class WriteSearchIndex:
    """Items with their fields as text, ascending by item_id -> one row of counts (`schemas.SEARCH_INDEX`).

    Columns: item_index, and title, brand, category, description and attributes, each null where an item has none.
    """

    folder: str
    config: Search
    output_schema: pa.Schema = field(default=SEARCH_INDEX, repr=False)

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Write the index of the whole catalog."""
        weights = {name: weight for name, weight in self.config.fields.model_dump().items() if weight > 0}
        stem = make_stem(self.config.language)
        known: dict[str, int] = {}
        words: Counter[str] = Counter()
        columns: dict[str, list[list[int]]] = {name: [] for name in weights}
        kept: dict[str, list[object]] = {"item_index": [], "category": [], "brand": []}
        for batch in batches:
            rows = batch.to_pylist()
            for name in kept:
                kept[name] += [row[name] for row in rows]
            for row in rows:
                seen: set[str] = set()
                for name in weights:
                    text = clean_text(row[name])
                    columns[name].append([known.setdefault(term, len(known)) for term in document_terms(text, stem)])
                    seen.update(part for word in words_of(text) if not is_run(word) for part in parts_of(word))
                words.update(word for word in seen if not has_digit(word))
        num_items = len(kept["item_index"])
        counts = [_counts(column, num_items, len(known)) for column in columns.values()]
        scores_TI = bm25f(counts, list(weights.values()), self.config.k1, self.config.b)
        self._write(_in_order(known, scores_TI), words, kept)
        row = {"items": num_items, "terms": len(known), "postings": scores_TI.nnz}
        yield pa.RecordBatch.from_pylist([row], schema=SEARCH_INDEX)

    def _write(
        self, found: tuple[list[str], sp.csr_array], words: Counter[str], kept: Mapping[str, Sequence[object]]
    ) -> None:
        terms, scores_TI = found
        starts = pa.array(scores_TI.indptr[:-1].astype(np.int64))
        files = {
            _TERMS: {"term": pa.array(terms, pa.string()), "start": starts},
            _POSTINGS: {"item": pa.array(scores_TI.indices.astype(np.int32)), "score": pa.array(scores_TI.data)},
            _WORDS: {
                "word": pa.array(sorted(words), pa.string()),
                "items": pa.array([words[w] for w in sorted(words)]),
            },
            _ITEMS: {
                "item_index": pa.array(kept["item_index"], pa.int32()),
                "category": pa.array(kept["category"], pa.string()),
                "brand": pa.array(kept["brand"], pa.string()),
            },
        }
        system, folder = open_folder(self.folder)
        system.create_dir(folder, recursive=True)
        for name, columns in files.items():
            batch = pa.record_batch(columns)
            with (
                system.open_output_stream(f"{folder}/{name}.part") as stream,
                pa.ipc.new_file(stream, batch.schema) as file,
            ):
                file.write_batch(batch)
            system.move(f"{folder}/{name}.part", f"{folder}/{name}")


@dataclass(frozen=True, eq=False)
class SearchIndex:
    """What the words of I items say, by row of the item index. Shared by all tasks of the process: read only."""

    terms: pa.Array
    scores_TI: sp.csr_array
    words: pa.Array
    word_items: pa.Array
    item_indices_I: IntArray
    categories: pa.Array
    brands: pa.Array

    @cached_property
    def places(self) -> Mapping[str, int]:
        """The place of each term."""
        return {term: place for place, term in enumerate(self.terms.to_pylist())}

    def holders(self, term: str) -> npt.NDArray[np.integer]:
        """Return the items that hold the term, ascending."""
        place = self.places.get(term)
        if place is None:
            return np.zeros(0, dtype=np.int32)
        return self.scores_TI.indices[self.scores_TI.indptr[place] : self.scores_TI.indptr[place + 1]]

    def holds(self, term: str, item: int) -> bool:
        """Whether the item holds the term."""
        holders = self.holders(term)
        place = np.searchsorted(holders, item)
        return bool(place < holders.size and holders[place] == item)

    @cached_property
    def word_counts(self) -> dict[str, int]:
        """The catalog's words without digits, each with the number of items that hold it."""
        return dict(zip(self.words.to_pylist(), self.word_items.to_pylist(), strict=True))

    @cached_property
    def coded_categories(self) -> tuple[IntArray, list[str]]:
        """The code of each item's category, -1 where it has none, and the category of each code."""
        coded = self.categories.dictionary_encode()
        codes_I = coded.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)
        return codes_I, coded.dictionary.to_pylist()

    def score(self, terms: Sequence[Sequence[str]], weights: Sequence[Sequence[float]]) -> sp.csr_array:
        """Return the score (P, I) of every item that holds a term of a profile; its cells are in order."""
        places = [[self.places.get(term, -1) for term in each] for each in terms]
        flat = np.array([place for each in places for place in each], dtype=np.int64)
        flat_weights = np.array([weight for each in weights for weight in each], dtype=np.float32)
        owners = np.repeat(np.arange(len(places)), [len(each) for each in places])
        known = flat >= 0
        weights_PT = sp.csr_array(
            (flat_weights[known], (owners[known], flat[known])), shape=(len(places), len(self.terms))
        )
        made = sp.csr_array(weights_PT @ self.scores_TI)
        made.sort_indices()
        return made


# Two, as of the item index: a worker that outlives its run may serve the next one.
@lru_cache(maxsize=2)
def read_search_index(folder: str) -> SearchIndex:
    """Map the index into memory, or read it where the folder is on no local disk; once per process and folder."""
    terms, postings, words, items = (_read(folder, name) for name in (_TERMS, _POSTINGS, _WORDS, _ITEMS))
    num_items, num_terms = items.num_rows, terms.num_rows
    starts_T = terms.column("start").to_numpy()
    indptr = np.append(starts_T, postings.num_rows).astype(np.int32 if postings.num_rows < 2**31 else np.int64)
    item_of = postings.column("item").to_numpy()
    scores_TI = sp.csr_array(
        (postings.column("score").to_numpy(), item_of.astype(indptr.dtype, copy=False), indptr),
        shape=(num_terms, num_items),
    )
    return SearchIndex(
        terms.column("term"),
        scores_TI,
        words.column("word"),
        words.column("items"),
        items.column("item_index").to_numpy().astype(np.int64),
        items.column("category"),
        items.column("brand"),
    )


def _read(folder: str, name: str) -> pa.RecordBatch:
    system, path = open_folder(folder)
    if isinstance(system, pa.fs.LocalFileSystem):
        file = pa.ipc.open_file(pa.memory_map(f"{path}/{name}"))
    else:
        with system.open_input_file(f"{path}/{name}") as stream:
            file = pa.ipc.open_file(pa.BufferReader(stream.read_buffer()))
    return file.get_batch(0)


def _counts(rows: Sequence[Sequence[int]], num_items: int, num_terms: int) -> sp.csr_array:
    starts = np.concatenate([[0], np.cumsum([len(row) for row in rows])]).astype(np.int64)
    columns = np.fromiter((place for row in rows for place in row), dtype=np.int64, count=int(starts[-1]))
    made = sp.csr_array((np.ones(columns.size, dtype=np.float32), columns, starts), shape=(num_items, num_terms))
    made.sum_duplicates()
    return made


def _in_order(known: Mapping[str, int], scores_TI: sp.csr_array) -> tuple[list[str], sp.csr_array]:
    """Return terms and scores in the order of the terms, so that the files do not hang on the order of the texts."""
    terms = sorted(known)
    return terms, sp.csr_array(scores_TI[[known[term] for term in terms]])
