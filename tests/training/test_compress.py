"""Compression end to end on a tiny teacher: steps, what is kept, figures, variants, and a version in the registry."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from datetime import date
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recsys_batch.contracts.config.compress import (
    Compress,
    CompressionSteps,
    Distillation,
    Int8,
    MatryoshkaSettings,
    Pruning,
    StudentShape,
)
from recsys_batch.contracts.config.training import Loop, Optimizer
from recsys_batch.contracts.errors import ConfigError
from recsys_batch.contracts.example_schemas import ExampleTables, examples_folder
from recsys_batch.contracts.model_version import ModelVersionNotFoundError
from recsys_batch.nn.encoder.encoder import Encoder, EncoderSettings
from recsys_batch.nn.files.check import fingerprint_model
from recsys_batch.training.compress.result import CompressedModel, Compression, measure_models
from recsys_batch.training.compress.run import TooFewTextsError, compress
from recsys_batch.training.compress.shop import NoHeldOutQueriesError, compress_shop, find_teacher
from recsys_batch.training.compress.speeds import Speed, compare_speeds
from recsys_batch.training.compress.teacher_vectors import Corpus
from recsys_batch.training.examples.files import ExampleFiles
from recsys_batch.training.registry.versions import Registry

COLORS, THINGS = ("red", "blue", "good", "bad"), ("shoes", "mug", "cup", "running shoes", "手机", "手机壳")
CORPUS = Corpus([f"{color} {thing}" for color in COLORS for thing in THINGS], ["mug", "cup", "shoes", "华为"])
FAST = Loop(epochs=2, batch_size=8, optimizer=Optimizer(learning_rate=3e-3, layer_decay=1.0))
STEPS = CompressionSteps(
    student=StudentShape(layers=1),
    distillation=Distillation(loop=FAST),
    matryoshka=MatryoshkaSettings(dimensions=[8]),
    pruning=Pruning(heads=1, neurons=16, loop=FAST),
    held_out=6,
    max_tokens=32,
    dtype="float32",
    speed_texts=24,
)


def measure(encoder: Encoder) -> Mapping[str, Mapping[str, float]]:
    """How near `red mug` is to other texts: any number that depends on the encoder's vectors."""
    vectors = encoder.encode(["red mug", "red cup", "blue shoes"])
    return {"likeness": {"cup": float(vectors[0] @ vectors[1]), "shoes": float(vectors[0] @ vectors[2])}}


def test_steps_give_models_with_quality_and_speed(tiny_folder: Path, tmp_path: Path) -> None:
    made = compress(STEPS, tiny_folder, CORPUS, tmp_path, measure)
    names = ["teacher", "student", "student[dim=8]", "pruned", "pruned[dim=8]"]
    assert [model.name for model in made.models] == names
    for model in made.models:
        again = Encoder.load(model.settings, num_threads=1)
        assert model.cases == measure(again)
        assert model.refusal == ""
        assert model.speed is not None
        assert model.speed.texts_per_second > 0
    assert made.teacher.speed is not None
    assert made.teacher.speed.ratio == 1
    assert made.result.name == "pruned"
    # 16 of 32 neurons and one of two heads are left in the one layer that the student kept.
    assert Encoder.load(made.result.settings)._backbone.linear_shapes == [(16, 24), (8, 16), (16, 16), (16, 16)]
    assert made.result.megabytes < made.teacher.megabytes
    assert set(made.agreement) == {"student", "pruned"}
    assert set(made.agreement["pruned"]) >= {"cosine", "rank_correlation", "overlap@10", "overlap@10[dim=8]"}


def test_what_was_made_is_not_made_again_unless_something_changed(tiny_folder: Path, tmp_path: Path) -> None:
    first = compress(STEPS, tiny_folder, CORPUS, tmp_path, measure)
    stamps = {file: file.stat().st_mtime_ns for file in tmp_path.rglob("*") if file.is_file()}
    again = compress(STEPS, tiny_folder, CORPUS, tmp_path, measure)
    assert {file: file.stat().st_mtime_ns for file in tmp_path.rglob("*") if file.is_file()} == stamps
    assert [model.folder for model in again.models] == [model.folder for model in first.models]
    assert [model.cases for model in again.models] == [model.cases for model in first.models]
    less = STEPS.model_copy(update={"pruning": Pruning(neurons=16, loop=FAST)})
    changed = compress(less, tiny_folder, CORPUS, tmp_path, measure)
    assert changed.models[1].folder == first.models[1].folder
    assert changed.result.folder != first.result.folder
    elsewhere = compress(STEPS, tiny_folder, CORPUS, tmp_path / "else", measure)
    assert fingerprint_model(elsewhere.result.folder) == fingerprint_model(first.result.folder)


def test_a_run_that_was_stopped_goes_on_to_the_same_model(tiny_folder: Path, tmp_path: Path) -> None:
    often = FAST.model_copy(update={"checkpoint_every": 1})
    steps = STEPS.model_copy(
        update={"distillation": Distillation(loop=often), "pruning": Pruning(heads=1, share=0.5, loop=often)}
    )

    class StoppedError(Exception):
        pass

    class Stop:
        def __init__(self, calls: int) -> None:
            self.calls = calls

        def log(self, step: int, values: object) -> None:
            self.calls -= 1
            if not self.calls:
                raise StoppedError

    whole = compress(steps, tiny_folder, CORPUS, tmp_path / "whole", measure)
    stops = 0
    for calls in (3, 8, 2):
        try:
            compress(steps, tiny_folder, CORPUS, tmp_path / "halves", measure, track=Stop(calls))
        except StoppedError:
            stops += 1
    assert stops == 3
    halves = compress(steps, tiny_folder, CORPUS, tmp_path / "halves", measure)
    for one, other in zip(whole.models, halves.models, strict=True):
        assert fingerprint_model(one.folder) == fingerprint_model(other.folder)


def test_metrics_of_a_manifest_by_hand() -> None:
    def model(name: str, first: float, ratio: float) -> CompressedModel:
        speed = Speed(100 * ratio, ratio)
        return CompressedModel(name, Path("x"), EncoderSettings("x"), {"ndcg@10": {"a": first, "b": 0.5}}, speed, 3.0)

    refused = CompressedModel("student[int8]", Path("x"), EncoderSettings("x"), refusal="no such backend")
    models = (model("teacher", 0.5, 1.0), model("student", 0.3, 2.0), model("student[dim=8]", 0.1, 2.5), refused)
    made = Compression(models, {"student": {"cosine": 0.9, "overlap@10[dim=8]": 0.5}})
    assert made.result.name == "student"
    assert made.metrics(made.result) == {
        "distillation.cosine": 0.9,
        "distillation.overlap@10[dim=8]": 0.5,
        "ndcg@10": pytest.approx(0.4),
        "kept.ndcg@10": pytest.approx(0.8),
        "texts_per_second": 200.0,
        "speed_ratio": 2.0,
        "megabytes": 3.0,
        "ndcg@10[dim=8]": pytest.approx(0.3),
        "kept.ndcg@10[dim=8]": pytest.approx(0.6),
        "texts_per_second[dim=8]": 250.0,
        "speed_ratio[dim=8]": 2.5,
        "megabytes[dim=8]": 3.0,
    }


def test_what_does_not_load_is_a_result_with_its_reason(tiny_folder: Path, tmp_path: Path) -> None:
    settings = EncoderSettings(str(tiny_folder), max_tokens=32)
    (tmp_path / "broken").mkdir()
    models = [
        CompressedModel("teacher", tiny_folder, settings),
        CompressedModel("student", tmp_path / "broken", settings),
    ]
    teacher, broken = measure_models(models, measure, CORPUS.documents, "cpu")
    assert teacher.speed is not None
    assert "broken/model.safetensors is missing" in broken.refusal
    assert (broken.cases, broken.speed) == ({}, None)


def test_int8_runs_or_says_why_not(tiny_folder: Path, tmp_path: Path) -> None:
    steps = STEPS.model_copy(
        update={"int8": Int8(is_tried=True, min_cosine=0.97), "pruning": Pruning(), "matryoshka": MatryoshkaSettings()}
    )
    made = compress(steps, tiny_folder, CORPUS, tmp_path, measure)
    tried = made.models[-1]
    assert (tried.name, tried.settings.backend) == ("student[int8]", "openvino_int8")
    assert tried.settings.min_cosine == 0.97
    assert bool(tried.refusal) != bool(tried.cases)


def test_speeds_are_taken_in_turns(tiny_folder: Path) -> None:
    taken: list[str] = []

    class Slow:
        def __init__(self, name: str) -> None:
            self.name = name

        def encode_documents(self, texts: list[str]) -> np.ndarray:
            taken.append(f"{self.name}{len(texts)}")
            return np.zeros((len(texts), 1), dtype=np.float32)

    speeds = compare_speeds({"a": Slow("a"), "b": Slow("b")}, ["x"] * 5, num_slices=2)  # type: ignore[dict-item]
    assert taken == ["a3", "b3", "a3", "b3", "b2", "a2"]
    assert speeds["a"].ratio == 1
    with pytest.raises(ValueError, match="3 texts cannot be cut into 8"):
        compare_speeds({}, ["x"] * 3)


def test_too_few_texts(tiny_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(TooFewTextsError, match="2 distinct texts, 6 of them held out"):
        compress(STEPS, tiny_folder, Corpus(["red", "red"], ["mug"]), tmp_path, measure)
    wide = STEPS.model_copy(update={"matryoshka": MatryoshkaSettings(dimensions=[99])})
    with pytest.raises(ConfigError, match=r"matryoshka.dimensions \[16, 99\]"):
        compress(wide, tiny_folder, CORPUS, tmp_path, measure)


@pytest.fixture
def examples(tmp_path: Path) -> ExampleFiles:
    root = tmp_path / "examples"
    items = [{"item_id": f"i{n}", "text": text, "category": None} for n, text in enumerate(CORPUS.documents)]
    tables = {
        (ExampleTables.ITEMS, "train"): items[:20],
        (ExampleTables.ITEMS, "test"): items[20:],
        (ExampleTables.QUERY_ITEMS, "train"): [{"query": "mug", "item_id": "i1", "weight": 1.0}],
        (ExampleTables.QUERY_ITEMS, "test"): [
            {"query": "red cup", "item_id": "i2", "weight": 1.0},
            {"query": "red cup", "item_id": "i8", "weight": 2.0},
            {"query": "blue mug", "item_id": "i7", "weight": 1.0},
            {"query": "gone", "item_id": "no more", "weight": 1.0},
        ],
    }
    for (table, part), rows in tables.items():
        folder = root / table / f"split={part}"
        folder.mkdir(parents=True)
        (root / table / "_SUCCESS").touch()
        pq.write_table(pa.Table.from_pylist(rows, ExampleTables.SCHEMAS[table]), folder / "0.parquet")
    return ExampleFiles(str(root))


def test_the_shop_gets_a_version_with_its_parent(tiny_folder: Path, tmp_path: Path, examples: ExampleFiles) -> None:
    registry = Registry(tmp_path / "models")
    settings = Compress(steps=STEPS, start=str(tiny_folder), k=5)
    version, _ = compress_shop(settings, registry, examples, tmp_path / "work")
    assert version.parents == (fingerprint_model(tiny_folder),)
    assert registry.versions("encoder") == [version.version]
    assert registry.champion("encoder") is None
    # Of the three test queries with an item in the catalog, by hand: where its items stand in the encoder's order.
    encoder = Encoder.load(EncoderSettings(str(registry.model_folder("encoder", version.version)), max_tokens=32))
    documents = encoder.encode_documents(CORPUS.documents)
    expected = {}
    for query, right in (("red cup", {2, 8}), ("blue mug", {7})):
        order = np.argsort(-(documents @ encoder.encode_queries([query])[0]), kind="stable")[:5]
        gained = sum(1 / np.log2(rank + 2) for rank, item in enumerate(order) if int(item) in right)
        expected[query] = gained / sum(1 / np.log2(rank + 2) for rank in range(len(right)))
    assert registry.cases("encoder", version.version, "ndcg@5") == pytest.approx(expected)
    assert version.metrics["ndcg@5"] == pytest.approx(sum(expected.values()) / 2)
    assert {"speed_ratio", "ndcg@5[dim=8]", "distillation.cosine"} <= set(version.metrics)
    assert version.data["queries"] == 2
    assert json.loads(json.dumps(version.settings))["compress"]["steps"]["student"]["layers"] == 1

    registry.point_to("encoder", version.version, "test", None)
    from_champion = settings.model_copy(
        update={"start": "", "steps": STEPS.model_copy(update={"student": StudentShape()})}
    )
    child, _ = compress_shop(from_champion, registry, examples, tmp_path / "work")
    assert child.parents == (f"encoder/{version.version}",)
    assert child.version != version.version
    # By its name, as the night and training take it.
    named = from_champion.model_copy(update={"start": f"registry:encoder@{version.version}"})
    assert find_teacher(named, registry)[0] == registry.model_folder("encoder", version.version)


def test_the_job_registers_what_the_config_asks_for(tiny_folder: Path, tmp_path: Path, examples: ExampleFiles) -> None:
    lake = tmp_path / "lake"
    folder = lake / examples_folder("time", date(2026, 6, 30))
    folder.parent.mkdir(parents=True)
    (tmp_path / "examples").rename(folder)
    wanted = STEPS.model_copy(update={"matryoshka": MatryoshkaSettings(), "pruning": Pruning()})
    command = [sys.executable, "jobs/compress.py", "--config", "conf/demo.yaml", "--ds", "2026-06-30"]
    for key, value in (
        ("lake.root", str(lake)),
        ("training.registry", str(tmp_path / "shop's models")),
        ("compress.start", str(tiny_folder)),
        ("compress.steps", wanted.model_dump_json()),
    ):
        command += ["--set", f"{key}={value}"]
    root = Path(__file__).parents[2]
    done = subprocess.run(
        command, cwd=root, env={**os.environ, "PYTHONPATH": str(root)}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    registry = Registry(tmp_path / "shop's models")
    (version,) = registry.versions("encoder")
    manifest = registry.read("encoder", version)
    assert manifest.settings["compress"]["steps"] == wanted.model_dump(mode="json")
    assert f"encoder/{version}" in done.stdout
    assert "speed_ratio" in done.stdout


def test_a_shop_without_champion_or_test_queries(tiny_folder: Path, tmp_path: Path, examples: ExampleFiles) -> None:
    registry = Registry(tmp_path / "models")
    with pytest.raises(ModelVersionNotFoundError, match="has no champion"):
        compress_shop(Compress(steps=STEPS), registry, examples, tmp_path / "work")
    test_part = tmp_path / "examples" / ExampleTables.QUERY_ITEMS / "split=test"
    (test_part / "0.parquet").unlink()
    test_part.rmdir()
    with pytest.raises(NoHeldOutQueriesError):
        compress_shop(Compress(steps=STEPS, start=str(tiny_folder)), registry, examples, tmp_path / "work")
