"""Compression of a shop's registered encoder: texts and held-out queries from its exported examples, and a new version
of the model in the registry.
"""

import logging
from collections.abc import Mapping
from datetime import date
from pathlib import Path

import numpy as np
import torch

from recsys_batch.contracts.config.compress import Compress
from recsys_batch.contracts.config.night import Config
from recsys_batch.contracts.datasets import TEST, TRAIN
from recsys_batch.contracts.errors import InputNotReadyError
from recsys_batch.contracts.example_schemas import ExampleTables, examples_folder
from recsys_batch.contracts.identity import code_version
from recsys_batch.contracts.model_version import ModelVersion
from recsys_batch.nn.encoder.encoder import Encoder
from recsys_batch.nn.files.find import fingerprint_model
from recsys_batch.nn.scoring.topk import ItemBlock, exact_topk
from recsys_batch.rules.metrics.ranking import graded_ndcg
from recsys_batch.training.compress.result import Compression, Measure
from recsys_batch.training.compress.run import compress
from recsys_batch.training.compress.teacher_vectors import Corpus
from recsys_batch.training.examples.files import ExampleFiles
from recsys_batch.training.registry.find import find_in, open_registry
from recsys_batch.training.registry.versions import Cases, Registry

log = logging.getLogger("recsys_batch.training")


class NoHeldOutQueriesError(InputNotReadyError):
    """The test part has no query with a chosen item, so nothing could be said of the student's quality."""


def compress_shop(
    settings: Compress, registry: Registry, examples: ExampleFiles, folder: Path, device: str = "cpu"
) -> tuple[ModelVersion, Compression]:
    """Compress the champion (or `settings.start`) and register the result as a version of the same model; it is not
    promoted.

    `folder` keeps what the steps make, so that a run that was stopped goes on. Raises NoHeldOutQueriesError,
    ModelVersionNotFoundError where there is neither champion nor `start`, and what `compress` raises.
    """
    teacher, parent = find_teacher(settings, registry)
    corpus = read_corpus(examples, settings)
    queries = read_queries(examples)
    made = compress(
        settings.steps, teacher, corpus, folder, measure_queries(queries, examples, settings.k), device=device
    )
    result = made.result
    manifest = ModelVersion(
        name=settings.name,
        kind="encoder",
        settings={"compress": settings.model_dump(mode="json", exclude={"registry"})},
        data={"split": settings.split, "texts": len(corpus.documents) + len(corpus.queries), "queries": len(queries)},
        metrics=made.metrics(result),
        parents=(parent,),
        code_version=code_version(),
        seed=settings.steps.seed,
    )
    return registry.register(manifest, result.folder, result.cases), made


def compress_config(config: Config, ds: date, device: str = "cpu") -> ModelVersion:
    """Compress as the block `compress` says, from the examples of `ds` below the lake; return the registered version.

    Raises ExamplesNotFoundError where they were not exported, and what `compress_shop` raises.
    """
    settings = config.compress
    examples = ExampleFiles(f"{config.lake.root}/{examples_folder(settings.split, ds)}")
    registry = open_registry(config, settings.registry)
    folder = registry.root / ".compressing" / settings.name
    version, made = compress_shop(settings, registry, examples, folder, device)
    for model in made.models:
        if model.refusal:
            log.warning("%s does not run here and was left out: %s", model.name, model.refusal)
    return version


def find_teacher(settings: Compress, registry: Registry) -> tuple[Path, str]:
    """Return the folder of the model to compress, and how a manifest names it: `name/version` or its fingerprint."""
    if settings.start:
        folder = find_in(registry, settings.start, settings.revision)
        return folder, fingerprint_model(folder)
    folder = registry.champion_folder(settings.name)
    champion = registry.champion(settings.name)
    assert champion is not None  # champion_folder would have refused  # noqa: S101
    return folder, f"{settings.name}/{champion.version}"


def read_corpus(examples: ExampleFiles, settings: Compress) -> Corpus:
    """Return the item texts that training may read, at most `max_texts` of them, and its queries."""
    items = examples.read(ExampleTables.ITEMS, TRAIN)["text"].to_pylist()
    texts = sorted({text for text in items if text})
    chosen = np.random.default_rng(settings.steps.seed).permutation(len(texts))[: settings.max_texts]
    queries = sorted(set(examples.query_items(TRAIN).queries))
    return Corpus([texts[row] for row in sorted(chosen)], queries)


def read_queries(examples: ExampleFiles) -> dict[str, set[str]]:
    """Return the test part's queries with the items chosen under them. Raises NoHeldOutQueriesError."""
    pairs = examples.query_items(TEST)
    chosen: dict[str, set[str]] = {}
    for query, item in zip(pairs.queries, pairs.item_ids, strict=True):
        chosen.setdefault(query, set()).add(item)
    if not chosen:
        raise NoHeldOutQueriesError(
            "the test part of query_items is empty: a student's quality is measured on its queries; choose a split "
            "whose test days have searches"
        )
    return chosen


def measure_queries(queries: Mapping[str, set[str]], examples: ExampleFiles, k: int) -> Measure:
    """Return a measure of `ndcg@k`: each query's ranking of all items, those chosen under it being relevant."""
    item_ids = sorted(examples.item_texts)
    texts = [examples.item_texts[item] for item in item_ids]
    index = {item: row for row, item in enumerate(item_ids)}
    found = {query: {index[item] for item in items if item in index} for query, items in sorted(queries.items())}
    relevant = {query: rows for query, rows in found.items() if rows}  # what left the catalog cannot be found

    def measure(encoder: Encoder) -> Mapping[str, Cases]:
        documents_IH = torch.from_numpy(encoder.encode_documents(texts))
        queries_QH = torch.from_numpy(encoder.encode_queries(list(relevant)))
        top_QK = exact_topk(queries_QH, [ItemBlock(0, documents_IH)], k).indices_QK.numpy()
        cases = {}
        for (query, right), top_K in zip(relevant.items(), top_QK, strict=True):
            found_K = np.array([float(int(row) in right) for row in top_K])
            cases[query] = graded_ndcg(found_K, np.ones(len(right)), k)
        return {f"ndcg@{k}": cases}

    return measure
