"""Published request lists on the held-out target of each request, beside baselines that learn from the same log."""

from datetime import date

import numpy as np
import numpy.typing as npt
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from recsys_batch.contracts.columns import Tables
from recsys_batch.contracts.config.night import Config
from recsys_batch.contracts.errors import ConfigError, InputNotReadyError
from recsys_batch.measure.baselines import Cases, all_baselines, describe, trial_of_newest, tuned_lists
from recsys_batch.measure.hold_out import NIGHT
from recsys_batch.measure.known import Known, names_of, read_known
from recsys_batch.measure.results import RunResult, compare_values
from recsys_batch.rules.baselines.log import Indices, Log
from recsys_batch.rules.metrics.ranking import gains, hits
from recsys_batch.spark.evaluation.published import with_canonical_items
from recsys_batch.spark.inputs.normalize import canonical_id
from recsys_batch.spark.inputs.sources import KEPT, read_table
from recsys_batch.spark.lake.files import delete_folder
from recsys_batch.spark.lake.prepared import read_prepared
from recsys_batch.spark.lake.runs import RUNS
from recsys_batch.spark.lake.tables import Lake
from recsys_batch.spark.publish.release import latest_release, prepared_by, read_release


def measure_requests(lake: Lake, config: Config, ds: date, event_types: tuple[str, ...]) -> list[RunResult]:
    """Return hit rate and NDCG of the request lists published for `ds`, and of the baselines, the best first.

    Settings of baselines are those that find the newest act of the log's own users best. Raises ConfigError without
    `sources.targets`, InputNotReadyError where no request lists of `ds` are published.
    """
    if not config.sources.targets:
        raise ConfigError("sources.targets: evaluate needs the held-out item of each request; add a source")
    release = latest_release(lake, ds)
    if release is None or Tables.REQUEST_RECOMMENDATIONS not in release.tables:
        raise InputNotReadyError(f"{Tables.REQUEST_RECOMMENDATIONS}: nothing published for {ds}; run the night first")
    run_id, repeats = prepared_by(release), config.rerank.allow_repeats
    items = read_prepared(lake, Tables.ITEMS, ds, run_id).select("item_id", "canonical_item_id")
    lists = with_canonical_items(read_release(lake, release, Tables.REQUEST_RECOMMENDATIONS), items)
    targets = with_canonical_items(_targets(lake, config, ds), items)
    pair = ["request_id", "item_id"]
    ranked = targets.join(lists.groupBy(*pair).agg(F.min("rank").alias("rank")), pair, "left")
    rows = ranked.orderBy(*pair).toArrow()
    known = read_known(lake, ds, run_id, event_types)
    requests_R, cases_C = np.unique(names_of(rows["request_id"]), return_inverse=True)
    history = _histories(read_prepared(lake, Tables.REQUESTS, ds, run_id), items, requests_R, known)
    targets_C = known.numbers_of_items(names_of(rows["item_id"]))
    folder = lake.path(f"{RUNS}/{run_id}/checkpoints")
    made = tuned_lists(
        all_baselines(lake.spark, folder, repeats=repeats, seed=config.seed),
        *(known, trial_of_newest(known, repeats=repeats), Cases(history, history, np.arange(len(requests_R)))),
        config.rerank.top_n,
        repeats=repeats,
    )
    ranks = {NIGHT: np.asarray([rank or 0 for rank in rows["rank"].to_pylist()], dtype=np.int64)}
    settings = {}
    for each in made:
        places = (each.lists_BN[cases_C] == targets_C[:, None]) & (targets_C >= 0)[:, None]
        ranks[each.name] = np.where(places.any(axis=1), places.argmax(axis=1) + 1, 0).astype(np.int64)
        settings[each.name] = describe(each.settings)
    delete_folder(lake.spark, folder)
    values = {
        run: {"hit_rate@10": hits(of, 10), "ndcg@10": gains(of, 10), "hit_rate@3": hits(of, 3)}
        for run, of in ranks.items()
    }
    return compare_values(values, settings, "ndcg@10")


def _targets(lake: Lake, config: Config, ds: date) -> DataFrame:
    raw = read_table(lake.spark, "targets", config.sources.targets, ds)
    rows = raw.where(KEPT).select(
        canonical_id("request_id", "keep").alias("request_id"),
        canonical_id("item_id", config.prepare.id_case).alias("item_id"),
    )
    # A case without an item, or of no request, is one that no list finds.
    return rows.na.fill("")


def _histories(requests: DataFrame, items: DataFrame, requests_R: npt.NDArray[np.object_], known: Known) -> Log:
    """Return the histories as a log: the newest item is of today, the one before it of yesterday, and so on."""
    exploded = requests.select(
        "request_id", F.size("item_ids").alias("n"), F.posexplode("item_ids").alias("p", "item_id")
    )
    rows = with_canonical_items(exploded.where("item_id IS NOT NULL"), items)
    table = rows.select("request_id", "item_id", (F.col("n") - F.col("p") - 1).alias("age")).toArrow()
    ids = names_of(table["request_id"])
    keys_E = np.minimum(np.searchsorted(requests_R, ids), len(requests_R) - 1)
    items_E: Indices = known.numbers_of_items(names_of(table["item_id"]))
    of_cases = (requests_R[keys_E] == ids) & (items_E >= 0)
    ages_E = table["age"].to_numpy().astype(np.float64)
    return Log(
        keys_E[of_cases].astype(np.int64), items_E[of_cases], ages_E[of_cases], len(requests_R), len(known.items_I)
    )
