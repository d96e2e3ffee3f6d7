"""The shop's tasks on a tiny network: what is learned, measured, kept, resumed and refused; no JVM."""

import json
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from pyspark import cloudpickle
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from recsys_batch.contracts.config.adapters import Adapter
from recsys_batch.contracts.config.models import Training
from recsys_batch.contracts.config.tasks import NegativeSettings, QueryRetrieval
from recsys_batch.contracts.config.tracking import Tracking
from recsys_batch.contracts.errors import ConfigError, SourceColumnsError, SourceNotFoundError
from recsys_batch.contracts.example_schemas import ExampleTables
from recsys_batch.nn.encoder.encoder import Encoder, EncoderSettings
from recsys_batch.nn.learning.heads import load_head
from recsys_batch.nn.learning.text_network import TextNetwork
from recsys_batch.training.examples.columns import LabelOutOfRangeError
from recsys_batch.training.examples.embedding import embed_texts
from recsys_batch.training.examples.files import ExampleFiles
from recsys_batch.training.loop.preflight import EmptyTaskError
from recsys_batch.training.shop.base import Shared, name_cases
from recsys_batch.training.shop.curves import OpenCurves, curves_folder
from recsys_batch.training.shop.job import TrainingJob, open_task, read_cases, read_outcome, version_examples
from recsys_batch.training.shop.run import measure_model, run_training
from recsys_batch.training.shop.tag_files import read_tags
from tests.training.shop_examples import ITEMS, KINDS, TEST_ITEMS, write_examples

ALL = [{"kind": kind} for kind in ("category", "rating", "clicks", "query_items", "item_items")]
FAST = {"learning_rate": 5e-3, "head_learning_rate": 2e-2}


def settings_of(tasks: list[dict[str, Any]], **changes: Any) -> Training:
    loop = {"epochs": 2, "batch_size": 8, "optimizer": FAST} | changes.pop("loop", {})
    return Training.model_validate({"tasks": tasks, "loop": loop, **changes})


@pytest.fixture
def job(tmp_path: Path, tiny_folder: Path) -> TrainingJob:
    examples = write_examples(tmp_path / "examples")
    return TrainingJob(
        examples=examples,
        data_version="d1",
        start=str(tiny_folder),
        runs=str(tmp_path / "runs"),
        settings=settings_of(ALL),
        max_tokens=32,
        pooling="mean",
    )


def test_a_run_leaves_an_encoder_with_heads_and_its_results(job: TrainingJob) -> None:
    outcome = run_training(job)
    # 16 items to learn from, four of a color: one kind has four of them, the others three.
    expected = {"category": 16, "rating": 4 * 16, "clicks": 16 + 4 * 3, "search": 16, "similar": 4 * (3 + 2 + 1)}
    assert outcome.examples == expected
    model = job.folder / "model"
    assert sorted(path.name for path in (model / "heads").iterdir()) == ["category", "clicks", "rating"]
    assert load_head(model / "heads" / "category")[1]["classes"] == sorted(KINDS)
    # It is the trained network that was kept, and the night's encoder reads it.
    kept = TextNetwork.load(model, 32, "mean")
    start = TextNetwork.load(Path(job.start), 32, "mean")
    assert not torch.equal(kept.model.embeddings.word_embeddings.weight, start.model.embeddings.word_embeddings.weight)
    with torch.no_grad():
        expected = kept.embed(kept.tokenize(["red mug"])).numpy()
    encoder = Encoder.load(EncoderSettings(model=str(model), max_tokens=32))
    np.testing.assert_allclose(encoder.encode_documents(["red mug"]), expected, atol=1e-5)
    assert outcome.costs["num_parameters"] == sum(p.numel() for p in kept.parameters())
    assert outcome.costs["texts_per_second"] > 0
    measured = {"category.accuracy", "rating.rmse", "clicks.auc", "clicks.auc_by_query", "search.ndcg@10"}
    assert measured | {"similar.ndcg@10"} <= outcome.after.keys()
    assert outcome.before.keys() == outcome.after.keys()
    assert outcome.main_metrics["rating"] == "-rating.squared_error"


def test_metrics_are_means_of_their_cases(job: TrainingJob) -> None:
    outcome = run_training(job)
    cases = read_cases(job.folder)
    assert {len(values) for name, values in cases.items() if name.startswith("search.")} == {len(KINDS)}
    assert len(cases["category.accuracy"]) == len(TEST_ITEMS)
    assert len(cases["-rating.squared_error"]) == 4 * len(ITEMS)
    for name in ("category.accuracy", "clicks.auc_by_query", "search.ndcg@10", "similar.hit_rate@10"):
        assert np.mean(list(cases[name].values())) == pytest.approx(outcome.after[name])
    errors = -np.array(list(cases["-rating.squared_error"].values()))
    assert np.sqrt(errors.mean()) == pytest.approx(outcome.after["rating.rmse"])
    assert all(case.startswith("d1/") for values in cases.values() for case in values)


def test_the_shop_is_learned(job: TrainingJob) -> None:
    texts, items = (replace(job, settings=settings_of(tasks, loop={"epochs": 10})) for tasks in (ALL[:2], ALL[4:]))
    learned = run_training(texts)
    assert learned.before["category.accuracy"] < learned.after["category.accuracy"] == 1.0
    assert learned.after["rating.rmse"] < 0.5 * learned.before["rating.rmse"]
    learned = run_training(items)
    assert learned.after["similar.ndcg@10"] > learned.before["similar.ndcg@10"] + 0.1


def test_a_finished_model_measures_the_same_by_itself(job: TrainingJob) -> None:
    outcome = run_training(job)
    cases = read_cases(job.folder)
    for task, metric in (
        ("category", "accuracy"),
        ("rating", "-squared_error"),
        ("clicks", "auc_by_query"),
        ("search", "ndcg@10"),
        ("similar", "ndcg@10"),
    ):
        measured = measure_model(job, job.folder / "model", task)
        kept = cases[outcome.main_metrics[task]]
        found = {f"d1/{case}": value for case, value in measured.cases[metric].items()}
        assert found == pytest.approx(kept, abs=1e-6)


def test_a_model_without_the_head_cannot_be_compared(job: TrainingJob) -> None:
    alone = replace(job, settings=settings_of([{"kind": "query_items"}]))
    run_training(alone)
    with pytest.raises(ConfigError, match="not trained for the task 'category'"):
        measure_model(job, alone.folder / "model", "category")
    with pytest.raises(ConfigError, match="no task is named 'stars'; there are: category, rating"):
        measure_model(job, alone.folder / "model", "stars")


def test_an_interrupted_run_ends_as_one_that_was_not(
    job: TrainingJob, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from recsys_batch.training.loop.steps import Learner

    checkpointed = replace(job, settings=settings_of(ALL, loop={"checkpoint_every": 3}))
    whole = run_training(replace(checkpointed, runs=str(tmp_path / "whole")))
    learn, taken = Learner.learn, []

    def stop_at_eight(self, plan):
        if len(taken) == 8:
            raise KeyboardInterrupt
        taken.append(plan.step)
        return learn(self, plan)

    with monkeypatch.context() as patch:
        patch.setattr(Learner, "learn", stop_at_eight)
        with pytest.raises(KeyboardInterrupt):
            run_training(checkpointed)
    assert read_outcome(checkpointed.folder) is None
    steps: list[int] = []
    with monkeypatch.context() as patch:
        patch.setattr(Learner, "learn", lambda self, plan: steps.append(plan.step) or learn(self, plan))
        resumed = run_training(checkpointed)
        assert steps[0] == 6
        assert steps[-1] == whole.costs["train_steps"] - 1
        assert resumed.after == whole.after
        assert resumed.before == whole.before
        # And once more: nothing is left to do.
        steps.clear()
        assert run_training(checkpointed) == resumed
        assert steps == []


def test_curves_go_to_the_tracker(job: TrainingJob) -> None:
    logged: list[tuple[int, set[str]]] = []

    class Curves:
        def log(self, step: int, values: dict[str, float]) -> None:
            logged.append((step, set(values)))

    outcome = run_training(job, lambda given: nullcontext(Curves() if given is job else None))
    steps = [step for step, names in logged if "learning_rate" in names]
    assert steps == list(range(1, int(outcome.costs["train_steps"]) + 1))
    # Part valid of the tiny shop has clicks but no category.
    assert any("search.ndcg@10" in names for _, names in logged)


def test_curves_of_a_run_go_below_the_models_folder(job: TrainingJob, tmp_path: Path) -> None:
    curves = OpenCurves(Tracking(), str(curves_folder(tmp_path, "encoder")))
    # Processes that Spark starts get it by cloudpickle.
    outcome = run_training(job, cloudpickle.loads(cloudpickle.dumps(curves)))
    folder = tmp_path / "encoder/curves/tensorboard" / job.key
    board = EventAccumulator(str(folder), size_guidance={"scalars": 0})
    board.Reload()
    assert [row.step for row in board.Scalars("learning_rate")] == list(range(1, int(outcome.costs["train_steps"]) + 1))
    assert [row.step for row in board.Scalars("search.ndcg@10")][-1] == outcome.costs["train_steps"]


def test_what_decides_the_result_names_the_run(job: TrainingJob, tiny_folder: Path) -> None:
    same = [
        job,
        replace(job, device="cuda", runs="/elsewhere"),
        replace(job, settings=settings_of(ALL, promotion={"tolerance": 0.1}, registry="/elsewhere")),
    ]
    others = [
        replace(job, data_version="d2"),
        replace(job, settings=settings_of(ALL[:2])),
        replace(job, settings=settings_of(ALL, loop={"seed": 1})),
        replace(job, max_tokens=16),
        replace(job, prefixes=("query: ", "")),
    ]
    assert len({each.key for each in same}) == 1
    assert len({each.key for each in [job, *others]}) == 1 + len(others)


def test_adapter_and_augmentation(job: TrainingJob, tmp_path: Path) -> None:
    (tmp_path / "others.json").write_text(json.dumps({"mug": ["cup"], "red mug": ["red cup"]}))
    augment = {"texts": 1.0, "swap": 0.5, "paraphrases": 1.0, "paraphrase_file": str(tmp_path / "others.json")}
    changed = replace(job, settings=settings_of(ALL, adapter={"rank": 2}, augment=augment))
    assert changed.settings.adapter == Adapter(rank=2)
    outcome = run_training(changed)
    # Merged, it is a model of the same shape again.
    kept = TextNetwork.load(changed.folder / "model", 32, "mean")
    assert outcome.costs["num_parameters"] == sum(p.numel() for p in kept.parameters())
    start = TextNetwork.load(Path(job.start), 32, "mean")
    word = "embeddings.word_embeddings.weight"
    assert torch.equal(kept.model.get_parameter(word), start.model.get_parameter(word))
    query = "encoder.layer.0.attention.self.query.weight"
    assert not torch.equal(kept.model.get_parameter(query), start.model.get_parameter(query))
    missing = augment | {"paraphrase_file": str(tmp_path / "none.json")}
    with pytest.raises(SourceNotFoundError, match=r"none\.json: no such file"):
        run_training(replace(job, settings=settings_of(ALL, augment=missing)))
    with pytest.raises(ConfigError, match=r"training\.augment: augment\.synonyms needs"):
        run_training(replace(job, settings=settings_of(ALL, augment={"synonyms": 0.5})))


def test_negatives_of_every_kind(tmp_path: Path, tiny_folder: Path) -> None:
    settings = QueryRetrieval(
        kind="query_items", negatives=NegativeSettings(hard=0, random=1, popular=1, shown=9, keep=5)
    )
    shared = Shared(ExampleFiles(write_examples(tmp_path)))
    task = open_task(settings, shared, TextNetwork.load(tiny_folder, 32)).task
    asked = task.queries[task.pairs.query_P[0]]
    place = KINDS.index(asked)
    drawn = {task.documents[row].split()[1] for row in task.negatives._shown[int(task.pairs.query_P[0])]}
    # Shown under a kind: that kind, which was clicked, and the one after it.
    assert drawn == ({KINDS[place + 1]} if place + 1 < len(KINDS) else set())
    assert set(task.documents) == {text for item, text in ITEMS.items() if item not in TEST_ITEMS}


def test_tags_from_files(job: TrainingJob, tmp_path: Path) -> None:
    rows = [{"words": text.split(), "tags": ["B-color", "B-kind"]} for text in ITEMS.values()]
    for name, found in (("train", rows[:12]), ("test", rows[12:])):
        (tmp_path / f"{name}.jsonl").write_text("\n".join(json.dumps(row) for row in found) + "\n\n")
    tags = {"kind": "tags", "file": str(tmp_path / "train.jsonl"), "test_file": str(tmp_path / "test.jsonl")}
    tagged = replace(job, settings=settings_of([tags], loop={"epochs": 8}))
    outcome = run_training(tagged)
    assert outcome.examples == {"tags": 12}
    assert outcome.after["tags.f1"] == 1.0
    assert measure_model(tagged, tagged.folder / "model", "tags").metrics["exact"] == 1.0


def test_wrong_tag_files(tmp_path: Path) -> None:
    file = tmp_path / "tags.jsonl"
    with pytest.raises(SourceNotFoundError, match="no such file of tagged texts"):
        read_tags(str(file))
    for line, fault in (
        ('{"words": ["a"]}', "'tags'"),
        ('{"words": ["a"], "tags": ["B-x", "O"]}', "1 words and 2 tags"),
        ('{"words": ["a"], "tags": ["X"]}', "tag 'X'"),
        ("words", "Expecting value"),
    ):
        file.write_text('{"words": ["a"], "tags": ["O"]}\n' + line)
        with pytest.raises(SourceColumnsError, match=rf"line 2: .*{fault}"):
            read_tags(str(file))


@pytest.mark.parametrize(
    ("table", "task", "what"),
    [
        (ExampleTables.ITEMS, "category", "items with a category"),
        (ExampleTables.RATINGS, "rating", "ratings"),
        (ExampleTables.CLICKS, "clicks", "items shown under queries"),
        (ExampleTables.QUERY_ITEMS, "query_items", "clicks under queries"),
        (ExampleTables.SESSIONS, "item_items", "sessions of two items"),
    ],
)
def test_a_task_without_examples_is_named(job: TrainingJob, tmp_path: Path, table: str, task: str, what: str) -> None:
    examples = write_examples(tmp_path / "empty", {(table, "train"): []})
    with pytest.raises(EmptyTaskError, match=f"part train has no usable {what}"):
        run_training(replace(job, examples=examples, settings=settings_of([{"kind": task}])))


def test_without_test_examples_there_is_nothing_to_measure(job: TrainingJob, tmp_path: Path) -> None:
    tables = [ExampleTables.RATINGS, ExampleTables.CLICKS, ExampleTables.QUERY_ITEMS, ExampleTables.SESSIONS]
    nothing = {(table, part): [] for table in tables for part in ("valid", "test")}
    nothing[ExampleTables.ITEMS, "test"] = []
    outcome = run_training(replace(job, examples=write_examples(tmp_path / "none", nothing)))
    assert outcome.after == {}
    assert sum(outcome.examples.values()) > 100


def test_an_anchor_keeps_queries_and_items_where_they_were(job: TrainingJob) -> None:
    ratings = settings_of([{"kind": "rating"}], loop={"epochs": 10})
    free = replace(job, settings=ratings)
    run_training(free)
    anchored = replace(
        job,
        settings=settings_of([{"kind": "anchor"}, {"kind": "rating"}], loop={"epochs": 10}),
        prefixes=("good ", "bad "),
    )
    outcome = run_training(anchored)
    # 16 items of training and the five kinds that are its queries.
    assert outcome.examples == {"anchor": 16 + len(KINDS), "rating": 4 * 16}
    assert outcome.main_metrics == {"rating": "-rating.squared_error"}
    assert outcome.before["anchor.cosine"] == pytest.approx(1.0, abs=1e-6)
    assert not (anchored.folder / "model/heads/anchor").exists()
    texts = sorted([f"good {kind}" for kind in KINDS] + [f"bad {ITEMS[item]}" for item in TEST_ITEMS])
    start, with_anchor, without = (
        embed_texts(TextNetwork.load(folder, 32, "mean"), texts)
        for folder in (Path(job.start), anchored.folder / "model", free.folder / "model")
    )
    assert outcome.after["anchor.cosine"] == pytest.approx(float((with_anchor * start).sum(1).mean()), abs=1e-5)
    assert outcome.after["anchor.cosine"] > float((without * start).sum(1).mean()) + 0.05
    assert outcome.after["rating.rmse"] < 0.5 * outcome.before["rating.rmse"]


def test_an_anchored_run_that_goes_on_still_keeps_to_its_start(
    job: TrainingJob, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from recsys_batch.training.loop.steps import Learner

    tasks = [{"kind": "category"}, {"kind": "anchor"}]
    anchored = replace(job, settings=settings_of(tasks, loop={"checkpoint_every": 2}))
    whole = run_training(replace(anchored, runs=str(tmp_path / "whole")))
    learn = Learner.learn

    def stop_at_five(self, plan):
        if plan.step == 5:
            raise KeyboardInterrupt
        return learn(self, plan)

    with monkeypatch.context() as patch:
        patch.setattr(Learner, "learn", stop_at_five)
        with pytest.raises(KeyboardInterrupt):
            run_training(anchored)
    assert whole.costs["train_steps"] > 5
    assert run_training(anchored).after == whole.after


def test_an_anchor_is_no_measure_of_a_model(job: TrainingJob, tmp_path: Path, tiny_folder: Path) -> None:
    anchor, category = {"kind": "anchor", "name": "keep"}, {"kind": "category"}
    with pytest.raises(ValidationError, match="an anchor alone learns nothing"):
        settings_of([anchor])
    for changes in ({"promotion": {"metric": "keep.cosine"}}, {"loop": {"metric": "-keep.cosine"}}):
        with pytest.raises(ValidationError, match="'keep' is an anchor, which measures no quality"):
            settings_of([anchor, category], **changes)
    shared, network = Shared(ExampleFiles(job.examples)), TextNetwork.load(tiny_folder, 32)
    settings = settings_of([anchor, category])
    with pytest.raises(ConfigError, match="'keep' is an anchor"):
        open_task(settings.tasks[0], shared, network, tiny_folder)
    empty = write_examples(tmp_path / "empty", {(ExampleTables.ITEMS, "train"): [], (ExampleTables.ITEMS, "test"): []})
    with pytest.raises(EmptyTaskError, match=r"task 'keep': .* no usable items or queries"):
        run_training(replace(job, examples=empty, settings=settings))


def test_a_rating_out_of_range_and_a_metric_of_no_task_end_the_run(job: TrainingJob) -> None:
    with pytest.raises(LabelOutOfRangeError, match="is 5, outside 1 to 4"):
        run_training(replace(job, settings=settings_of([{"kind": "rating", "high": 4}])))
    with pytest.raises(ConfigError, match=r"metric 'stars\.rmse'"):
        run_training(replace(job, settings=settings_of(ALL, loop={"metric": "stars.rmse"})))


def test_data_versions(tmp_path: Path) -> None:
    file = tmp_path / "tags.jsonl"
    file.write_text("a")
    shop = ExampleFiles(write_examples(tmp_path / "one"))
    same = ExampleFiles(write_examples(tmp_path / "same"))
    item = {"item_id": "i01", "text": "red cup", "category": "cups"}
    others = [
        ExampleFiles(write_examples(tmp_path / f"other{number}", {(ExampleTables.ITEMS, part): [row]}))
        for number, (part, row) in enumerate(
            [("train", item), ("test", item), ("test", item | {"category": None}), ("test", item | {"text": "red mug"})]
        )
    ]
    first = version_examples({"a": {"b": 1}}, shop, [str(file)])
    assert first == version_examples({"a": {"b": 1}}, same, [str(file)])
    found = [version_examples({"a": {"b": 1}}, other, [str(file)]) for other in others]
    found.append(version_examples({"a": {"b": 2}}, shop, [str(file)]))
    file.write_text("b")
    found.append(version_examples({"a": {"b": 1}}, shop, [str(file)]))
    assert len({first, *found}) == 7


def test_case_names_tell_equal_texts_apart() -> None:
    names = name_cases(["a", "b", "a"])
    assert names[0] == name_cases(["a"])[0]
    assert names[2] == f"{names[0]}#2"
    assert len(set(names)) == 3
