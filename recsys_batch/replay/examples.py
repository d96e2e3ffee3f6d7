"""What a ranker learns from: candidates of earlier dates with their features, made by the night's own code."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from recsys_batch.contracts.columns import Tables
from recsys_batch.contracts.config.ranker import Ranker, RankerTraining
from recsys_batch.contracts.filesystem import read_parquet
from recsys_batch.contracts.schemas import PROFILES
from recsys_batch.night.context import Run
from recsys_batch.night.index import write_index
from recsys_batch.night.retrieve import retrieve_task
from recsys_batch.replay.cuts import Cut, cuts_by_days, cuts_by_last_acts, requests_between, requests_of
from recsys_batch.spark.apply import map_batches
from recsys_batch.spark.events.histories import user_histories
from recsys_batch.spark.lake.files import delete_folder, list_folders
from recsys_batch.spark.retrieval import profiles as histories
from recsys_batch.workers.ragged import Ragged
from recsys_batch.workers.rank_learned import MakeExamples, feature_names

log = logging.getLogger("recsys_batch.ranker")
RankedKind = Literal["user", "request"]
_BUCKETS = 10_000


@dataclass(frozen=True, eq=False)
class Examples:
    """The candidates of P profiles: features (N, F), what was wanted (N,), and how many of each profile's in a row."""

    names: tuple[str, ...]
    keys: Sequence[str]
    rows_NF: npt.NDArray[np.float32]
    labels_N: npt.NDArray[np.float32]
    sizes_P: npt.NDArray[np.int64]
    num_targets_P: npt.NDArray[np.int64]
    """With those that no source proposed."""

    def feature(self, name: str) -> npt.NDArray[np.float32]:
        """Return one feature (N,)."""
        return self.rows_NF[:, self.names.index(name)]

    def by_name(self) -> dict[str, npt.NDArray[np.float32]]:
        """Return the features by name."""
        return {name: self.rows_NF[:, place] for place, name in enumerate(self.names)}


@dataclass(frozen=True)
class Parts:
    """Where the examples of a kind of lists lie: folders with those to learn from, and one with those to measure on."""

    learn: Sequence[str]
    test: str


def write_examples(
    run: Run, kinds: Sequence[RankedKind], ranker: Ranker, training: RankerTraining
) -> dict[RankedKind, Parts]:
    """Make the examples of every kind and cut; those that an interrupted call finished stand."""
    interactions = run.read_prepared(Tables.INTERACTIONS)
    parts: dict[RankedKind, Parts] = {}
    by_acts = list(kinds) if training.replay == "last_acts" else []
    by_days = list(kinds) if training.replay == "days" else []
    for of_cuts, cuts in (
        (by_days, cuts_by_days(interactions, run.ds, run.config.prepare, training)),
        (by_acts, cuts_by_last_acts(interactions, training)),
    ):
        for cut in cuts if of_cuts else ():
            write_cut(run, of_cuts, cut, ranker, training)
        for kind in of_cuts:
            learn = [run.folder("examples", f"{kind}-{number}-learn") for number in range(training.cuts)]
            parts[kind] = Parts(learn, run.folder("examples", f"{kind}-0-test"))
    return {kind: parts[kind] for kind in kinds}


def write_cut(
    run: Run, kinds: Sequence[RankedKind], cut: Cut, ranker: Ranker, training: RankerTraining, name: str = ""
) -> None:
    """Make the examples of a cut, `KIND-NAME-learn` and of the newest `KIND-NAME-test`, that are not there yet.

    The index is the same for all kinds. The name of a cut is its number where none is given.
    """
    name = name or str(cut.number)
    # A worker keeps an index that it has read, by its folder: of other kinds the same number may be another cut.
    place = "-".join((*kinds, name))
    done = set(list_folders(run.spark, run.folder("examples")))
    wanted = ("learn", "test") if cut.number == 0 else ("learn",)
    missing = [kind for kind in kinds if not {f"{kind}-{name}-{part}" for part in wanted} <= done]
    if not missing:
        return
    log.info("%s lists: %s", " and ".join(missing), cut.describe)
    known = run.leave(cut.known, "cuts", place, "known")
    acts = write_index(run, known, "cuts", place, "index", ranker=ranker)
    for kind in missing:
        _write_kind(run, kind, replace(cut, known=known), acts, (place, name), ranker, training)
    delete_folder(run.spark, run.folder("cuts", place))


def read_examples(folder: str, own_sources: Sequence[str] = ()) -> Examples:
    """Return the examples in a folder, by key."""
    names = feature_names(own_sources)
    table = read_parquet(folder).sort_by("key")
    features = [np.zeros((0, len(names)), dtype=np.float32)]
    labels, sizes = [np.zeros(0, dtype=np.float32)], [np.zeros(0, dtype=np.int64)]
    for batch in table.to_batches():
        features.append(Ragged.from_arrow(batch.column("features"), np.float32).values.reshape(-1, len(names)))
        rows = Ragged.from_arrow(batch.column("labels"), np.float32)
        labels.append(rows.values)
        sizes.append(np.diff(rows.starts))
    return Examples(
        names,
        table["key"].to_pylist(),
        np.concatenate(features),
        np.concatenate(labels),
        np.concatenate(sizes),
        table["num_targets"].to_numpy().astype(np.int64),
    )


def _write_kind(
    run: Run,
    kind: RankedKind,
    cut: Cut,
    acts: DataFrame | None,
    names: tuple[str, str],
    ranker: Ranker,
    training: RankerTraining,
) -> None:
    (place, name), repeats = names, run.config.rerank.allow_repeats
    if kind == "user":
        profiles = histories.user_profiles(user_histories(cut.known, run.config.prepare), repeats, acts)
        wanted = cut.wanted.withColumn("key", F.col("user_id"))
    else:
        profiles, wanted = _request_profiles(run, cut, training)
    if not repeats:
        had = profiles.select("key", F.explode("seen").alias("item_index"))
        wanted = wanted.join(had, ["key", "item_index"], "left_anti")
    targets = wanted.groupBy("key", "user_id").agg(F.array_sort(F.collect_set("item_index")).alias("targets"))
    # By hash, so that the same users are drawn on any number of machines.
    drawn = profiles.join(targets, "key").orderBy(F.xxhash64("user_id"), "key").limit(training.max_users)
    bucket = F.pmod(F.xxhash64(F.lit(7), "user_id"), F.lit(_BUCKETS))
    kept = run.leave(drawn.withColumn("bucket", bucket), "cuts", place, f"{kind}-profiles")
    index = run.folder("cuts", place, "index")
    task = retrieve_task(run, index, run.folder("progress", f"replay-{kind}-{name}"), ranker)
    spread = kept.repartition(run.parallelism * 4, "key")
    candidates = run.leave(map_batches(spread.select(*PROFILES.names), task), "cuts", place, f"{kind}-candidates")
    joined = candidates.join(kept.select("key", "targets", "bucket"), "key")
    # Users that are tested on teach nothing, at any cut.
    is_test = F.col("bucket") < int(training.test_share * _BUCKETS)
    for part, rows in (("test", joined.where(is_test)), ("learn", joined.where(~is_test))):
        if part == "learn" or cut.number == 0:
            block = run.config.retrieve.profile_block
            make = MakeExamples(index, block, part == "test", training.negatives, tuple(ranker.sources))
            run.leave(map_batches(rows.drop("bucket"), make), "examples", f"{kind}-{name}-{part}")


def _request_profiles(run: Run, cut: Cut, training: RankerTraining) -> tuple[DataFrame, DataFrame]:
    """Return profiles in the shape of requests, and what each wanted: key, user_id, item_index.

    Where cuts are by days, everyone's moments after the cut are requests of what came before, as on the days to come;
    else what everyone did last is held out of what is known.
    """
    sizes = run.read_prepared(Tables.REQUESTS).agg(F.coalesce(F.max(F.size("item_ids")), F.lit(1)))
    longest = max(sizes.collect()[0][0], 1)
    if cut.days is not None and cut.log is not None:
        requests = requests_between(cut.log, *cut.days, longest, training)
        wanted = requests.select(F.col("request_id").alias("key"), "user_id", F.explode("targets").alias("item_index"))
    else:
        requests = requests_of(cut.known, longest)
        wanted = cut.wanted.withColumn("key", F.col("user_id"))
    asked = requests.select("request_id", "item_ids", "query")
    return histories.request_profiles(asked, run.items(), None, run.config.rerank.allow_repeats), wanted
