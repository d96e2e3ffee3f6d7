"""From logs to a champion that the night encodes with: prepare, datasets, train, promote or not, publish."""

import shutil
from datetime import date
from pathlib import Path

import pytest

from recsys_batch.contracts.config.night import Config
from recsys_batch.contracts.config.tasks import Anchor
from recsys_batch.contracts.datasets import ManifestNotFoundError
from recsys_batch.contracts.errors import ConfigError
from recsys_batch.contracts.model_version import ModelVersionNotFoundError
from recsys_batch.contracts.run_facts import NightOptions
from recsys_batch.learn.datasets import make_datasets
from recsys_batch.learn.train import TrainOptions, train_models
from recsys_batch.pipeline import run_night
from recsys_batch.report.summary import RunSummary
from recsys_batch.spark.lake.tables import Lake
from recsys_batch.training.loop.preflight import EmptyTaskError
from recsys_batch.training.registry.find import find_encoder, open_registry
from tests.e2e.conftest import DS, small_config
from tests.training.tiny_model import write_tiny_model

pytestmark = pytest.mark.long

TASKS = "[{kind: category}, {kind: rating}, {kind: clicks}, {kind: query_items}, {kind: item_items}]"
TRAINED = (
    f"training.tasks={TASKS}",
    "training.loop.max_steps=60",
    "training.loop.batch_size=16",
    "training.loop.optimizer.learning_rate=0.003",
    "training.promotion.metric=search.ndcg@10",
    "training.promotion.min_cases=5",
    "datasets.splits=[{name: time, kind: time, valid_days: 2, test_days: 3}]",
    "encoder.max_tokens=32",
)


@pytest.fixture(scope="module")
def tiny(spark, demo_shop: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An encoder of random weights whose words are those of the shop."""
    titles = [row.title for row in spark.read.json(f"{demo_shop}/items").collect() if row.title]
    return write_tiny_model(tmp_path_factory.mktemp("tiny") / "model", corpus=titles)


@pytest.fixture(scope="module")
def made(spark, demo_shop: Path, tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Config:
    """A lake with prepared tables and a dataset, and the configuration that trains on it."""
    lake = tmp_path_factory.mktemp("trained")
    config = small_config(demo_shop, lake, *TRAINED, f"training.start={tiny}", f"encoder.model={tiny}")
    run_night(spark, config, DS, NightOptions(stage="prepare"), RunSummary(config.name, DS.isoformat()))
    make_datasets(Lake.at(spark, config.lake.root), config, DS, ["time"])
    return config


def changed(config: Config, **training: object) -> Config:
    return config.model_copy(update={"training": config.training.model_copy(update=training)})


def test_from_a_dataset_to_a_champion_that_the_night_uses(spark, made: Config, tiny: Path) -> None:
    lake, registry = Lake.at(spark, made.lake.root), open_registry(made)
    by_name = made.model_copy(update={"encoder": made.encoder.model_copy(update={"model": "registry:encoder"})})
    with pytest.raises(ModelVersionNotFoundError, match="no champion"):
        find_encoder(by_name)

    first = train_models(lake, made, DS, TrainOptions(promote=False))
    assert not first.is_champion
    assert registry.champion("encoder") is None
    assert min(first.outcome.examples.values()) > 10
    assert first.outcome.after["search.ndcg@10"] > first.outcome.before["search.ndcg@10"]
    version = registry.read("encoder", first.version)
    assert version.data["tables"]["query_items"]["train"]["content_hash"]
    assert version.data["examples"] == first.outcome.examples
    assert version.metrics["search.ndcg@10"] == first.outcome.after["search.ndcg@10"]
    assert version.metrics["num_parameters"] == first.outcome.costs["num_parameters"]
    assert len(version.parents[0]) == 64
    assert list((registry.root / "encoder/curves/tensorboard").glob("*/events.*"))
    # Again: nothing is trained, the version is promoted.
    again = train_models(lake, made, DS)
    assert (again.version, again.is_champion) == (first.version, True)
    assert again.reason.startswith("the first version: no champion to compare it with")
    assert registry.versions("encoder") == [first.version]

    # A rate that ruins the encoder: registered, and no champion.
    ruined = made.training.loop.model_copy(
        update={"optimizer": made.training.loop.optimizer.model_copy(update={"learning_rate": 1.0})}
    )
    worse = train_models(lake, changed(made, loop=ruined), DS)
    assert not worse.is_champion
    assert "the champion stays" in worse.reason
    assert registry.champion("encoder").version == first.version
    assert sorted(registry.versions("encoder")) == sorted([first.version, worse.version])

    summary = RunSummary(made.name, DS.isoformat())
    run_night(spark, by_name, DS, NightOptions(), summary)
    assert summary.state == "published"
    named = {"encoder": f"encoder@{first.version} (encoder:{find_encoder(by_name)[1][:12]})"}
    assert [row.model_versions for row in lake.read("releases").collect()] == [named]
    for table in ("user_recommendations", "query_recommendations", "similar_items"):
        rows = lake.read_ds(table, DS).select("model_version").distinct().collect()
        assert [row.model_version for row in rows] == [named["encoder"]]

    # A promotion between nights: other vectors beside the old ones, under the other name.
    before = find_encoder(by_name)[1]
    registry.point_to("encoder", worse.version, "by hand", registry.champion("encoder"))
    assert find_encoder(by_name)[1] != before
    summary = RunSummary(made.name, DS.isoformat())
    run_night(spark, by_name, DS, NightOptions(force=True), summary)
    assert summary.counts["encode.document_cache_hits"] == 0
    keys = lake.read("embeddings").select("fingerprint").distinct().collect()
    assert len({row.fingerprint.split("-")[0] for row in keys}) == 2
    latest = lake.read("releases").orderBy("published_at").collect()[-1]
    assert latest.model_versions["encoder"].startswith(f"encoder@{worse.version} (encoder:")


def test_a_later_champion_is_compared_on_the_challengers_cases(spark, made: Config, tmp_path: Path) -> None:
    """Other data, other cases: the champion is measured again, from its registered folder."""
    lake = Lake.at(spark, made.lake.root)
    own = changed(made, registry=str(tmp_path / "models"), model="shop-model", tasks=made.training.tasks[2:4])
    first = train_models(lake, own, DS)
    other = own.model_copy(update={"datasets": own.datasets.model_copy(update={"category_levels": 1})})
    seeded = changed(other, loop=own.training.loop.model_copy(update={"seed": 1}))
    second = train_models(lake, seeded, DS)
    assert second.version != first.version
    registry = open_registry(own)
    cases = [registry.cases("shop-model", one.version, "search.ndcg@10") for one in (first, second)]
    assert not cases[0].keys() & cases[1].keys()
    assert len(cases[0]) == len(cases[1]) > 5
    assert f"search.ndcg@10 {second.outcome.after['search.ndcg@10']:.4f}" in second.reason
    # It is the same test, so the champion's mean is what it was.
    assert f"against {first.outcome.after['search.ndcg@10']:.4f} of champion {first.version}" in second.reason


def test_what_is_missing_is_named(spark, made: Config, tmp_path: Path) -> None:
    lake = Lake.at(spark, made.lake.root)
    with pytest.raises(ManifestNotFoundError, match="run jobs/make_datasets"):
        train_models(lake, made, date(2026, 6, 1))
    with pytest.raises(ConfigError, match=r"training\.split: 'users' is none of datasets\.splits: time"):
        train_models(lake, changed(made, split="users"), DS)
    with pytest.raises(ConfigError, match=r"training\.tasks is empty"):
        train_models(lake, changed(made, tasks=[]), DS)
    with pytest.raises(ConfigError, match="no task is named 'stars'"):
        train_models(lake, made, DS, TrainOptions(tasks=["stars"]))
    anchored = changed(made, tasks=[*made.training.tasks, Anchor(name="keep")])
    with pytest.raises(ConfigError, match="an anchor alone learns nothing"):
        train_models(lake, anchored, DS, TrainOptions(tasks=["keep"]))
    with pytest.raises(ConfigError, match=r"training\.registry is s3://models"):
        train_models(lake, changed(made, registry="s3://models"), DS)
    copy = Path(shutil.copytree(made.lake.root, tmp_path / "copy"))
    ratings = f"{copy}/datasets/time/ratings"
    emptied = made.model_copy(update={"lake": made.lake.model_copy(update={"root": str(copy)})})
    spark.read.format("delta").load(ratings).limit(0).write.format("delta").mode("overwrite").save(ratings)
    with pytest.raises(EmptyTaskError, match="task 'rating': the dataset's part train has no usable ratings"):
        train_models(Lake.at(spark, str(copy)), emptied, DS, TrainOptions(fresh=True))
