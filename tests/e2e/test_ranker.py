"""A ranker from the demo shop's earlier nights: trained, registered, promoted, and used by the night's lists."""

from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
from pyspark.sql import functions as F

from recsys_batch.contracts.columns import CANDIDATE_SOURCES, Tables
from recsys_batch.contracts.config.night import Config
from recsys_batch.contracts.config.ranker import Ranker
from recsys_batch.contracts.errors import InputNotReadyError
from recsys_batch.contracts.model_version import ModelVersionNotFoundError
from recsys_batch.contracts.run_facts import NightOptions
from recsys_batch.night.context import Run
from recsys_batch.pipeline import open_prepared, run_night
from recsys_batch.replay.cuts import Cut, cuts_by_days
from recsys_batch.replay.examples import read_examples, write_cut
from recsys_batch.replay.train import RankerReport, train_ranker
from recsys_batch.report.summary import RunSummary
from recsys_batch.spark.lake.tables import Lake
from recsys_batch.spark.publish.release import read_staged
from recsys_batch.training.registry.find import open_registry
from recsys_batch.workers.features import FEATURES
from tests.e2e.conftest import DS, small_config

pytestmark = pytest.mark.long

LEARNING = (
    "ranker_training.event_types=[purchase,cart,view]",
    "ranker_training.days=4",
    "ranker_training.cuts=3",
    "ranker_training.min_profiles=40",
    "ranker_training.trees=40",
    "ranker_training.leaves=7",
    "ranker.candidates=30",
    # Who is a bot is found out from all that is known: a later night may leave an account out that an earlier one used.
    "prepare.accounts.bots=keep",
)


def config_of(shop: Path, lake: Path, *overrides: str) -> Config:
    return small_config(shop, lake, *LEARNING, *overrides)


@pytest.fixture(scope="module")
def trained(spark, demo_shop: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Config, RankerReport]:
    config = config_of(demo_shop, tmp_path_factory.mktemp("ranker"))
    return config, train_ranker(spark, config, DS)


@pytest.fixture(scope="module")
def ranked(spark, trained) -> tuple[Config, RunSummary]:
    """A night that uses the champion."""
    config, _ = trained
    summary = RunSummary(config.name, DS.isoformat())
    run_night(spark, config, DS, NightOptions(publish=False, resume=True), summary)
    return config, summary


def test_the_first_version_is_measured_beside_the_blend_and_becomes_the_champion(trained) -> None:
    config, report = trained
    registry = open_registry(config)
    assert report.verdict.is_champion
    assert registry.champion("ranker").version == report.version
    manifest = registry.read("ranker", report.version)
    assert manifest.kind == "ranker"
    assert set(manifest.files) == {"user.txt"}  # plain text, nothing pickled
    each = report.kinds["user"]
    assert each.num_learned >= 40
    assert 0 < each.ranker <= 1
    assert manifest.metrics["user.ndcg@8"] == each.ranker
    assert manifest.metrics["user.ndcg@8[blend]"] == each.blend
    cases = registry.cases("ranker", report.version, "user.ndcg@8")
    assert len(cases) == each.num_tested
    assert np.mean(list(cases.values())) == pytest.approx(each.ranker)
    assert not any(key.lower().startswith("u") for key in cases)  # users go by a hash


def test_training_again_goes_on_and_changes_nothing(spark, trained) -> None:
    config, report = trained
    again = train_ranker(spark, config, DS)
    assert (again.version, again.verdict.is_champion) == (report.version, True)
    assert again.seconds < report.seconds


def test_the_night_ranks_by_the_champion_and_its_lists_pass_the_gates(spark, ranked) -> None:
    config, summary = ranked
    assert summary.state == "staged"
    assert not [check for check in summary.checks if check.verdict == "block"]
    lake = Lake.at(spark, config.lake.root)
    rows = read_staged(lake, Tables.USER_RECOMMENDATIONS, summary.run_id).collect()
    used = {source for row in rows for source in row.sources}
    assert used <= set(CANDIDATE_SOURCES)
    assert used & {"item_knn", "user_knn", "ease"}
    assert {row.model_version.split("@")[0] for row in rows} == {"ranker"}
    # Other lists are blended, as the version has no model for them.
    similar = read_staged(lake, Tables.SIMILAR_ITEMS, summary.run_id)
    assert not similar.where(F.col("model_version").startswith("ranker@")).count()


def test_reasons_name_other_items_that_the_user_acted_on(spark, ranked) -> None:
    config, summary = ranked
    lake = Lake.at(spark, config.lake.root)
    rows = read_staged(lake, Tables.USER_RECOMMENDATIONS, summary.run_id).select("user_id", "item_id", "reason.*")
    acted = lake.read(Tables.INTERACTIONS).select("user_id", F.col("item_id").alias("anchor")).distinct()
    explained = rows.where("anchor IS NOT NULL")
    assert explained.count() > 100
    assert explained.where("anchor = item_id").count() == 0
    assert explained.join(acted, ["user_id", "anchor"], "left_anti").count() == 0


def test_what_is_learned_from_are_the_features_of_the_night(spark, demo_shop: Path, ranked) -> None:
    """The same users at one date: once as a cut of a later log, once as the night of then, feature by feature."""
    config, _ = ranked
    cut_ds = DS - timedelta(days=4)
    with (
        open_prepared(spark, config, DS, RunSummary(config.name, DS.isoformat())) as later,
        open_prepared(spark, config, cut_ds, RunSummary(config.name, cut_ds.isoformat())) as then,
    ):
        compare_features(config, later, then)


def compare_features(config: Config, later: Run, then: Run) -> None:
    training = config.ranker_training.model_copy(update={"cuts": 1, "test_share": 0.99})
    (cut,) = cuts_by_days(later.read_prepared(Tables.INTERACTIONS), DS, config.prepare, training)

    def features(known, name: str) -> dict[str, np.ndarray]:
        # Both on the catalog of the later night: what an item costs is not what is compared.
        replaced = Cut(0, known, cut.wanted, name)
        write_cut(later, ["user"], replaced, config.ranker or Ranker(), training, name)
        made = read_examples(later.folder("examples", f"user-{name}-test"))
        rows = np.split(made.rows_NF, np.cumsum(made.sizes_P)[:-1])
        return dict(zip(made.keys, rows, strict=True))

    as_cut = features(cut.known, "as-cut")
    # The files of the shop already hold what was received after the cut.
    received = F.coalesce("received_at", "event_time") < F.lit(DS - timedelta(days=3)).cast("timestamp")
    as_night = features(then.read_prepared(Tables.INTERACTIONS).where(received), "as-night")
    assert as_cut.keys() == as_night.keys()
    assert len(as_cut) > 10
    for key, rows in as_cut.items():
        np.testing.assert_allclose(rows, as_night[key], rtol=1e-4, atol=1e-5, err_msg=f"{key}: {FEATURES}")


def test_a_shop_without_a_champion_says_so_before_anything_runs(spark, demo_shop: Path, tmp_path: Path) -> None:
    config = config_of(demo_shop, tmp_path, "ranker.model=registry:nobody")
    with pytest.raises(ModelVersionNotFoundError, match="nobody"):
        run_night(spark, config, DS, NightOptions(), RunSummary(config.name, DS.isoformat()))
    assert not (tmp_path / "interactions").exists()


def test_too_few_users_to_learn_from_is_no_model(spark, trained) -> None:
    config, _ = trained
    one_cut = config.ranker_training.model_copy(update={"cuts": 1, "days": 1, "event_types": ["purchase"]})
    with pytest.raises(InputNotReadyError, match="at least 40 are needed"):
        train_ranker(spark, config.model_copy(update={"ranker_training": one_cut}), DS)
