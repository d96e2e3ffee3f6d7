"""What people should label next, by a trained champion of the tiny shop; no JVM."""

from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest

from recsys_batch.contracts.config.load import load_config
from recsys_batch.contracts.errors import ConfigError
from recsys_batch.contracts.example_schemas import ExampleTables, examples_folder
from recsys_batch.contracts.identity import parse_ds
from recsys_batch.contracts.label_requests import LABEL_REQUESTS_SCHEMA
from recsys_batch.contracts.model_version import ModelVersionNotFoundError
from recsys_batch.learn.label import choose_config
from recsys_batch.nn.learning.heads import load_head
from recsys_batch.nn.learning.text_network import TextNetwork
from recsys_batch.training.registry.find import open_registry
from recsys_batch.training.shop.job import TrainingJob
from recsys_batch.training.shop.release import promote_run, register_run
from recsys_batch.training.shop.run import run_training
from tests.training.shop_examples import ITEMS, KINDS, TEST_ITEMS, shop_rows, write_examples

ROOT = Path(__file__).parent.parent.parent
DS = parse_ds("2026-06-30")


def test_items_without_category_and_queries_without_click(tmp_path: Path, tiny_folder: Path) -> None:
    lake = tmp_path / "lake"
    tasks = "training.tasks=[{kind: category}, {kind: clicks}, {kind: query_items}]"
    chosen = [f"lake.root={lake}", tasks, "training.loop.max_steps=12", "training.loop.metric=''", "label.count=3"]
    config = load_config(ROOT / "conf/demo.yaml", [*chosen, "training.loop.precision=float32"], {})
    rows = shop_rows()
    unlabeled = ["i00", "i06", "i10", "i13"]
    items = [
        row | ({"category": None} if row["item_id"] in unlabeled else {}) for row in rows[ExampleTables.ITEMS, "train"]
    ]
    vain = [row | {"label": 0} if row["query"] in KINDS[:2] else row for row in rows[ExampleTables.CLICKS, "train"]]
    none = [row for row in rows[ExampleTables.QUERY_ITEMS, "train"] if row["query"] not in KINDS[:2]]
    # One of the two was clicked in the days of part valid.
    later = [row for row in rows[ExampleTables.QUERY_ITEMS, "valid"] if row["query"] != KINDS[0]]
    changed = {
        (ExampleTables.ITEMS, "train"): items,
        (ExampleTables.CLICKS, "train"): vain,
        (ExampleTables.QUERY_ITEMS, "train"): none,
        (ExampleTables.QUERY_ITEMS, "valid"): later,
    }
    examples = write_examples(lake / examples_folder("time", DS), changed)
    with pytest.raises(ModelVersionNotFoundError, match="has no champion; train one first"):
        choose_config(config, DS)

    registry = open_registry(config)
    job = TrainingJob(
        examples=examples,
        data_version="d1",
        start=str(tiny_folder),
        runs=str(registry.root / "encoder" / "runs"),
        settings=config.training,
        max_tokens=32,
        pooling="mean",
    )
    outcome = run_training(job)
    version = register_run(registry, job, outcome, {})
    assert promote_run(registry, job, version, outcome).is_champion

    found = choose_config(config, DS)
    assert found.schema == LABEL_REQUESTS_SCHEMA
    by_kind = {kind: [row for row in found.to_pylist() if row["kind"] == kind] for kind in ("item", "query")}
    assert [row["rank"] for row in by_kind["item"]] == [1, 2, 3]
    assert {row["id"] for row in by_kind["item"]} < set(unlabeled)
    # What the head says of a text, computed here from its files.
    model = registry.model_folder("encoder", version)
    network, (head, notes) = TextNetwork.load(model, 32, "mean"), load_head(model / "heads" / "category")
    for row in by_kind["item"]:
        assert row["text"] == ITEMS[row["id"]]
        probabilities = head(network.eval().pooled(network.tokenize([row["text"]]))).softmax(1)[0].tolist()
        assert row["predicted"] == notes["classes"][int(np.argmax(probabilities))]
        assert row["confidence"] == pytest.approx(max(probabilities), abs=1e-5)
    assert [row["id"] for row in by_kind["query"]] == [KINDS[0]]
    (query,) = by_kind["query"]
    item = query["text"].removeprefix(f"{KINDS[0]} / ")
    assert item in {text for number, text in ITEMS.items() if number not in TEST_ITEMS}
    pair, _ = load_head(model / "heads" / "clicks")
    vectors_2H = network.pooled(network.tokenize([KINDS[0], item]))
    click = float(pair(vectors_2H[:1], vectors_2H[1:]).sigmoid().detach())
    assert query["confidence"] == pytest.approx(max(click, 1 - click), abs=1e-5)
    assert query["predicted"] == ("click" if click > 0.5 else "no click")

    # The next day everything has its label.
    write_examples(lake / examples_folder("time", DS + timedelta(days=1)))
    assert choose_config(config, DS + timedelta(days=1)).num_rows == 0
    ratings = config.model_copy(
        update={"training": config.training.model_copy(update={"tasks": config.training.tasks[2:]})}
    )
    with pytest.raises(ConfigError, match=r"no head of training\.tasks of kind category or clicks"):
        choose_config(ratings, DS)
