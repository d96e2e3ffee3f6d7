"""Tasks of nearness: query to item, item to item. They train the encoder alone; nothing is kept beside it."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from recsys_batch.contracts.config.tasks import ItemRetrieval, QueryRetrieval
from recsys_batch.contracts.datasets import SPLITS, TEST, TRAIN, VALID
from recsys_batch.contracts.example_schemas import ExampleTables
from recsys_batch.nn.learning.text_network import TextNetwork
from recsys_batch.nn.scoring.seen import SeenItems
from recsys_batch.training.examples.files import ExampleFiles, QueryItems
from recsys_batch.training.examples.negatives import Negatives, Pairs
from recsys_batch.training.shop.base import Measured, Shared, name_cases, need_examples, pair_up
from recsys_batch.training.shop.documents import Documents, Indices
from recsys_batch.training.tasks.query_document import HeldOut
from recsys_batch.training.tasks.retrieval import RetrievalTask, pairs_from_sessions

_NO_PAIRS = Pairs(np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64))


class _Nearness:
    """What both have: the held-out lists, measured query by query."""

    task: RetrievalTask
    _test: HeldOut | None
    _case_suffix = ""

    def measure(self) -> Measured:
        """Return NDCG and hit rate over all items; the cases are the queries, or the items' texts."""
        held_out, task = self._test, self.task
        if held_out is None:
            return Measured()
        fast, task.bfloat16 = task.bfloat16, False
        queries_QH, documents_IH = task.embed_queries(held_out.queries), task.embed_documents(held_out.documents)
        task.bfloat16 = fast
        names = [name + self._case_suffix for name in name_cases(held_out.queries)]
        cases = {name: pair_up(names, each) for name, each in held_out.measure_each(queries_QH, documents_IH).items()}
        metrics = {name: float(np.mean(list(values.values()))) for name, values in cases.items() if values}
        return Measured(metrics, cases)

    def save(self, folder: Path) -> None:
        """Nothing: the encoder is all there is."""


class SearchTask(_Nearness):
    """The items that were clicked under a query."""

    def __init__(
        self, settings: QueryRetrieval, shared: Shared, network: TextNetwork, model: Path | None = None
    ) -> None:
        """Make the task of the exported examples; with `model` only what measures."""
        files = shared.files
        self.main_metric = f"ndcg@{settings.k}"
        self._test = _lists_of_queries(files, TEST, SPLITS, settings.k)
        documents, pairs, negatives = Documents({}), _NO_PAIRS, None
        queries: list[str] = []
        if model is None:
            documents = Documents(files.texts_of(TRAIN))
            chosen = files.query_items(TRAIN)
            queries, pairs, weights_P = _pair_queries(chosen, documents)
            need_examples(settings.name, len(pairs), "clicks under queries")
            shown = _shown_in_vain(files, queries, documents, pairs) if settings.negatives.shown else None
            popularity_I = documents.popularity(pairs.document_P, weights_P)
            negatives = Negatives(settings.negatives, pairs, len(documents), popularity_I, shown)
        self.task = RetrievalTask(
            network,
            queries,
            documents.texts,
            pairs,
            negatives=negatives,
            temperature=settings.temperature,
            augment=shared.augment,
            held_out=_lists_of_queries(files, VALID, (TRAIN, VALID), settings.k) if model is None else None,
            prefixes=shared.prefixes,
            bfloat16=shared.bfloat16,
            name=settings.name,
        )


class SimilarTask(_Nearness):
    """The items that follow an item within a session."""

    def __init__(
        self, settings: ItemRetrieval, shared: Shared, network: TextNetwork, model: Path | None = None
    ) -> None:
        """Make the task of the exported examples; with `model` only what measures."""
        files, window = shared.files, settings.window
        self.main_metric = f"ndcg@{settings.k}"
        self._test = _lists_of_items(files, TEST, SPLITS, window, settings.k)
        # What counts as right depends on the window: other windows make other cases.
        self._case_suffix = f"/window={window}"
        documents, pairs, itself, negatives = Documents({}), _NO_PAIRS, _NO_PAIRS, None
        if model is None:
            documents = Documents(files.texts_of(TRAIN))
            pairs = pairs_from_sessions(documents.walk(files.sessions(TRAIN)), window)
            need_examples(settings.name, len(pairs), "sessions of two items")
            every = np.arange(len(documents))
            itself = Pairs(every, every)
            popularity_I = documents.popularity(pairs.document_P)
            negatives = Negatives(settings.negatives, pairs, len(documents), popularity_I)
        self.task = RetrievalTask(
            network,
            documents.texts,
            documents.texts,
            pairs,
            negatives=negatives,
            temperature=settings.temperature,
            also_right=itself,
            augment=shared.augment,
            held_out=_lists_of_items(files, VALID, (TRAIN, VALID), window, settings.k) if model is None else None,
            # Both sides are items: neither is a query.
            prefixes=(shared.prefixes[1], shared.prefixes[1]),
            bfloat16=shared.bfloat16,
            name=settings.name,
        )


def _pair_queries(chosen: QueryItems, documents: Documents) -> tuple[list[str], Pairs, np.ndarray]:
    """Return the queries with a known item, their pairs, and the pairs' weights."""
    known_P = documents.known(chosen.item_ids)
    rows = np.flatnonzero(known_P).tolist()
    asked = [chosen.queries[row] for row in rows]
    queries = sorted(set(asked))
    place = {query: row for row, query in enumerate(queries)}
    pairs = Pairs(
        np.array([place[query] for query in asked], dtype=np.int64),
        documents.places([chosen.item_ids[row] for row in rows]),
    )
    return queries, pairs, chosen.weights[rows]


def _shown_in_vain(
    files: ExampleFiles, queries: Sequence[str], documents: Documents, pairs: Pairs
) -> Mapping[int, Indices]:
    """Return query -> documents that it was shown and that nobody clicked under it."""
    place = {query: row for row, query in enumerate(queries)}
    rows = files.read(ExampleTables.CLICKS, TRAIN)
    shown: dict[int, set[int]] = defaultdict(set)
    columns = (rows[name].to_pylist() for name in ("query", "item_id"))
    for query, item in zip(*columns, strict=True):
        if query in place and item in documents.place:
            shown[place[query]].add(documents.place[item])
    for query_row, document in zip(pairs.query_P.tolist(), pairs.document_P.tolist(), strict=True):
        shown[query_row].discard(document)
    return {row: np.array(sorted(found), dtype=np.int64) for row, found in shown.items()}


def _lists_of_queries(files: ExampleFiles, part: str, catalog: Sequence[str], k: int) -> HeldOut | None:
    """Return the queries of a part with what was clicked under them, to be found in the catalog of some parts."""
    documents = Documents(files.texts_of(*catalog))
    chosen = files.query_items(part)
    grades: dict[str, dict[int, float]] = defaultdict(dict)
    for query, item in zip(chosen.queries, chosen.item_ids, strict=True):
        if item in documents.place:
            grades[query][documents.place[item]] = 1.0
    if not grades:
        return None
    return HeldOut(list(grades), list(grades.values()), k, documents.texts)


def _lists_of_items(files: ExampleFiles, part: str, catalog: Sequence[str], window: int, k: int) -> HeldOut | None:
    """Return the items of a part's sessions with what followed them; an item is not looked for itself."""
    documents = Documents(files.texts_of(*catalog))
    pairs = pairs_from_sessions(documents.walk(files.sessions(part)), window)
    grades: dict[int, dict[int, float]] = defaultdict(dict)
    for first, second in zip(pairs.query_P.tolist(), pairs.document_P.tolist(), strict=True):
        grades[first][second] = 1.0
    if not grades:
        return None
    items_Q = np.array(list(grades), dtype=np.int64)
    itself = SeenItems(np.arange(len(items_Q) + 1), items_Q)
    texts = [documents.texts[row] for row in items_Q]
    return HeldOut(texts, list(grades.values()), k, documents.texts, itself)
