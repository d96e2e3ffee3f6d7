"""What the people of a shop should label next: items without a category, and queries under which nothing was clicked,
where the champion's heads are least certain.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from recsys_batch.contracts.config.semi_supervised import ActiveLearning
from recsys_batch.contracts.config.tasks import Classification, ClickRanking, TaskBlock
from recsys_batch.contracts.datasets import SPLITS, TRAIN, VALID
from recsys_batch.contracts.errors import ConfigError
from recsys_batch.contracts.example_schemas import ExampleTables
from recsys_batch.contracts.model_version import ModelVersion
from recsys_batch.nn.learning.text_network import TextNetwork
from recsys_batch.nn.scoring.topk import ItemBlock, exact_topk
from recsys_batch.training.examples.embedding import embed_texts
from recsys_batch.training.examples.files import ExampleFiles
from recsys_batch.training.labeling.active_learning import Pool, choose_to_label
from recsys_batch.training.shop.base import HEADS, Shared
from recsys_batch.training.shop.clicks import ClickTask
from recsys_batch.training.shop.texts import CategoryTask

ITEM, QUERY = "item", "query"
_NEAREST = 10
"""Items of a query whose clicks are guessed."""


def choose_labels(
    settings: ActiveLearning,
    tasks: Sequence[TaskBlock],
    version: ModelVersion,
    model: Path,
    examples: ExampleFiles,
    device: str = "cpu",
) -> pa.Table:
    """Return what to label first (LABEL_REQUESTS_SCHEMA), by the heads that `model`, the files of `version`, has.

    Raises ConfigError where it has a head of none of the tasks of category and clicks.
    """
    encoder = version.settings["encoder"]
    network = TextNetwork.load(model, int(encoder["max_tokens"]), encoder["pooling"]).to(device)
    query_prefix, document_prefix = encoder["prefixes"]
    shared = Shared(examples, (query_prefix, document_prefix))
    tables = []
    for task in tasks:
        if not (model / HEADS / task.name).is_dir():
            continue
        if isinstance(task, Classification):
            tables.append(_choose_items(settings, CategoryTask(task, shared, network, model), network, examples))
        elif isinstance(task, ClickRanking):
            tables.append(_choose_queries(settings, ClickTask(task, shared, network, model), network, shared))
    if not tables:
        raise ConfigError(
            f"{version.name}@{version.version} has no head of training.tasks of kind category or clicks; train one, or "
            "name its task"
        )
    return pa.concat_tables(tables)


def _choose_items(
    settings: ActiveLearning, shop_task: CategoryTask, network: TextNetwork, examples: ExampleFiles
) -> pa.Table:
    """Choose of the items without a category."""
    shop_task.task.module.to(network.device)
    rows = pa.concat_tables([examples.read(ExampleTables.ITEMS, part) for part in SPLITS])
    unlabeled = rows.filter(rows["category"].is_null())
    texts = unlabeled["text"].to_pylist()
    pool = Pool(
        ITEM,
        unlabeled["item_id"].to_pylist(),
        texts,
        shop_task.task.probabilities(texts).astype(np.float64),
        shop_task.task.classes,
        embed_texts(network, texts).numpy(),
    )
    labeled = sorted(set(examples.categories(TRAIN).texts))
    return choose_to_label(pool, settings, embed_texts(network, labeled).numpy())


def _choose_queries(settings: ActiveLearning, shop_task: ClickTask, network: TextNetwork, shared: Shared) -> pa.Table:
    """Choose of the queries of the parts train and valid under which nothing was clicked.

    A query is as uncertain as the click on that of its nearest items which is the least certain; that item stands in
    the text. Queries of part test stay out: a model is measured on them.
    """
    shop_task.task.module.to(network.device)
    files, (query_prefix, document_prefix) = shared.files, shared.prefixes
    clicked = {query for part in (TRAIN, VALID) for query in files.query_items(part).queries}
    shown = {query for part in (TRAIN, VALID) for query in files.clicks(part).queries or ()}
    queries, documents = sorted(shown - clicked), sorted(set(files.texts_of(TRAIN).values()))
    vectors_QH = embed_texts(network, [query_prefix + query for query in queries])
    documents_DH = embed_texts(network, [document_prefix + text for text in documents])
    texts: list[str] = []
    click_Q = np.zeros(0)
    if queries:
        num = min(_NEAREST, len(documents))
        nearest_QK = exact_topk(vectors_QH, [ItemBlock(0, documents_DH)], num).indices_QK.numpy()
        near = [documents[int(row)] for row in nearest_QK.reshape(-1)]
        guesses = shop_task.task.probabilities(near, [query for query in queries for _ in range(num)])
        click_QK = guesses.astype(np.float64).reshape(len(queries), num)
        place_Q = np.abs(click_QK - 0.5).argmin(1)
        click_Q = click_QK[np.arange(len(queries)), place_Q]
        texts = [f"{query} / {near[row * num + place_Q[row]]}" for row, query in enumerate(queries)]
    pool = Pool(QUERY, queries, texts, np.stack([click_Q, 1 - click_Q], 1), ("click", "no click"), vectors_QH.numpy())
    labeled = [query_prefix + query for query in sorted(clicked)]
    return choose_to_label(pool, settings, embed_texts(network, labeled).numpy())
