"""Pre-training for the shop: corpus, version, curves, and the training that starts from it; no JVM."""

import csv
from pathlib import Path

import pytest
from rich.console import Console

from recsys_batch.contracts.config.load import load_config
from recsys_batch.contracts.config.models import Training
from recsys_batch.contracts.config.pretrain import ShopPretrain
from recsys_batch.contracts.config.tracking import Tracking
from recsys_batch.contracts.errors import ConfigError
from recsys_batch.contracts.example_schemas import examples_folder
from recsys_batch.contracts.identity import parse_ds
from recsys_batch.contracts.model_version import ModelVersion, ModelVersionNotFoundError
from recsys_batch.learn.pretrain import pretrain_config
from recsys_batch.nn.files.check import fingerprint_model
from recsys_batch.report.training import print_pretraining
from recsys_batch.training.examples.files import ExampleFiles, ExamplesNotFoundError
from recsys_batch.training.loop.steps import Learner
from recsys_batch.training.pretrain.corpus import EmptyCorpusError
from recsys_batch.training.pretrain.shop import pretrain_shop
from recsys_batch.training.registry.find import find_model
from recsys_batch.training.registry.versions import Registry
from recsys_batch.training.shop.job import TrainingJob
from recsys_batch.training.shop.release import register_run
from recsys_batch.training.shop.run import run_training
from tests.training.shop_examples import ITEMS, KINDS, TEST_ITEMS, write_examples
from tests.training.small_corpus import shop_texts

ROOT = Path(__file__).parent.parent.parent
DS = parse_ds("2026-06-30")
SIZE = {"hidden_size": 16, "num_layers": 1, "num_heads": 2, "max_positions": 32}
REVIEWS = ("good", "bad", "好", "差")


def settings_of(texts: Path, **changes: object) -> ShopPretrain:
    optimizer = {"learning_rate": 5e-3, "head_learning_rate": 5e-3, "layer_decay": 1.0}
    given = {
        "texts": [{"path": str(texts), "columns": ["title"]}],
        "architecture": SIZE,
        "tokenizer": {"vocab_size": 150},
        "max_tokens": 32,
        "held_out_share": 0.1,
        "loop": {"epochs": 2, "batch_size": 32, "checkpoint_every": 3, "optimizer": optimizer},
    }
    return ShopPretrain.model_validate({**given, **changes})


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ExampleFiles]:
    """A CSV file of titles, and exported examples."""
    folder = tmp_path_factory.mktemp("shop")
    with (folder / "titles.csv").open("w", encoding="utf-8", newline="") as stream:
        rows = csv.writer(stream)
        rows.writerow(["id", "title"])
        rows.writerows(enumerate(shop_texts(240)))
    return folder / "titles.csv", ExampleFiles(write_examples(folder / "examples"))


def run(
    shop: tuple[Path, ExampleFiles], registry: Registry, start: Path | None = None, **changes: object
) -> ModelVersion:
    return pretrain_shop(settings_of(shop[0], **changes), registry, start, shop[1], Tracking(), ds="2026-06-30")


def test_a_version_is_registered_and_training_starts_from_it(shop: tuple[Path, ExampleFiles], tmp_path: Path) -> None:
    registry = Registry(tmp_path / "models")
    version = run(shop, registry)
    assert (version.name, version.kind, version.parents) == ("pretrained", "encoder", ())
    # Titles of the file; of the examples items, queries and reviews of part train, and no item of part test.
    items = [text for item, text in ITEMS.items() if item not in TEST_ITEMS]
    assert version.data["train"] + version.data["held_out"] == 240 + len(items) + len(KINDS) + len(REVIEWS)
    assert 0 < version.data["held_out"] < 60
    assert (version.data["ds"], version.data["files"]) == ("2026-06-30", [str(shop[0])])
    assert version.metrics["masked.perplexity"] < version.metrics["before/masked.perplexity"]
    assert version.metrics["train_steps"] == 2 * -(-version.data["train"] // 32)
    assert registry.champion("pretrained") is None
    (runs,) = (registry.root / "pretrained" / "runs").iterdir()
    assert not (runs / "checkpoints").exists()
    assert list((registry.root / "pretrained/curves/tensorboard" / runs.name).glob("events.*"))
    model = registry.resolve(f"registry:pretrained@{version.version}")
    job = TrainingJob(
        examples=write_examples(tmp_path / "examples"),
        data_version="d1",
        start=str(model),
        runs=str(tmp_path / "runs"),
        settings=Training.model_validate({"tasks": [{"kind": "category"}], "loop": {"epochs": 1}}),
        max_tokens=32,
        pooling="mean",
    )
    trained = register_run(registry, job, run_training(job), {})
    assert registry.read("encoder", trained).parents == (f"pretrained/{version.version}",)


def test_what_was_stopped_goes_on_and_what_was_registered_is_not_made_again(
    shop: tuple[Path, ExampleFiles], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes = {"masking": {"whole_word": False}}  # words that are fitted again could differ by a rare one
    whole = run(shop, Registry(tmp_path / "whole"), **changes)
    registry, learn, taken = Registry(tmp_path / "parts"), Learner.learn, []

    def stop_at_five(self, plan):  # type: ignore[no-untyped-def]
        if len(taken) == 5:
            raise KeyboardInterrupt
        taken.append(plan.step)
        return learn(self, plan)

    with monkeypatch.context() as patch:
        patch.setattr(Learner, "learn", stop_at_five)
        with pytest.raises(KeyboardInterrupt):
            run(shop, registry, **changes)
    assert registry.versions("pretrained") == []
    steps: list[int] = []
    with monkeypatch.context() as patch:
        patch.setattr(Learner, "learn", lambda self, plan: steps.append(plan.step) or learn(self, plan))
        parts = run(shop, registry, **changes)
        assert steps[0] == 3
        assert parts.files == whole.files
        masked = [name for name in whole.metrics if "masked." in name]
        assert [parts.metrics[name] for name in masked] == [whole.metrics[name] for name in masked]
        steps.clear()
        assert run(shop, registry, **changes) == parts
        # Another name or place of the same texts is the same run; another seed is not.
        assert steps == []
        run(shop, registry, **changes, loop={"epochs": 1, "seed": 1})
        assert steps
        steps.clear()
        again = pretrain_shop(
            settings_of(shop[0], **changes), registry, None, shop[1], Tracking(), ds="2026-06-30", fresh=True
        )
        assert steps[0] == 0
        assert again.files == parts.files


def test_it_goes_on_from_a_model_without_examples(
    shop: tuple[Path, ExampleFiles], tmp_path: Path, tiny_folder: Path
) -> None:
    settings = settings_of(shop[0], split="", objectives=["masked", "simcse"])
    version = pretrain_shop(settings, Registry(tmp_path / "models"), tiny_folder, None, Tracking())
    assert version.parents == (fingerprint_model(tiny_folder),)
    assert version.data["train"] + version.data["held_out"] == 240
    console = Console(record=True, width=120, file=(tmp_path / "out").open("w"))
    print_pretraining(console, version)
    shown = console.export_text()
    assert f"--set training.start=registry:pretrained@{version.version}" in shown
    for objective in ("masked", "simcse"):
        assert f"{version.metrics[f'before/{objective}.loss']:.4f}" in shown
        assert f"{version.metrics[f'{objective}.loss']:.4f}" in shown
    assert "train_steps" not in shown


def test_from_a_configuration(shop: tuple[Path, ExampleFiles], tmp_path: Path, tiny_folder: Path) -> None:
    lake = tmp_path / "lake"
    chosen = [f"lake.root={lake}", f"pretrain.start={tiny_folder}", "pretrain.loop.max_steps=1"]
    config = load_config(ROOT / "conf/demo.yaml", [*chosen, "pretrain.max_tokens=32"], {})
    with pytest.raises(ExamplesNotFoundError, match="no training examples"):
        pretrain_config(config, DS)
    write_examples(lake / examples_folder("time", DS))
    version = pretrain_config(config, DS)
    name = f"registry:pretrained@{version.version}"
    assert find_model(config, name) == lake / "models/pretrained/versions" / version.version / "model"
    with pytest.raises(ModelVersionNotFoundError, match=rf"no champion; .*@VERSION \(known: {version.version}\)"):
        find_model(config, "registry:pretrained")
    further = config.model_copy(update={"pretrain": config.pretrain.model_copy(update={"start": name})})
    assert pretrain_config(further, DS).parents == (f"pretrained/{version.version}",)
    unknown = config.model_copy(update={"pretrain": config.pretrain.model_copy(update={"split": "tmie"})})
    with pytest.raises(ConfigError, match=r"pretrain\.split: 'tmie' is none of datasets\.splits: time"):
        pretrain_config(unknown, DS)


def test_a_corpus_without_texts(shop: tuple[Path, ExampleFiles], tmp_path: Path) -> None:
    (tmp_path / "none.txt").write_text("\n\n")
    settings = replace_texts(settings_of(shop[0], split=""), tmp_path / "none.txt")
    with pytest.raises(EmptyCorpusError, match="no text to train on"):
        pretrain_shop(settings, Registry(tmp_path), None, None, Tracking())
    with pytest.raises(ValueError, match="both empty"):
        ShopPretrain(split="", texts=[])


def replace_texts(settings: ShopPretrain, file: Path) -> ShopPretrain:
    return ShopPretrain.model_validate({**settings.model_dump(), "texts": [{"path": str(file)}]})
