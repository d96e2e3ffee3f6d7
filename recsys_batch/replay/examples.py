"""What a ranker learns from: candidates of earlier dates with their features, made by the night's own code."""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import pyarrow.dataset as pads
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from recsys_batch.contracts.columns import Tables
from recsys_batch.contracts.config.ranker import Ranker, RankerTraining
from recsys_batch.contracts.filesystem import open_folder
from recsys_batch.contracts.schemas import PROFILES
from recsys_batch.night.context import Run
from recsys_batch.night.index import write_index
from recsys_batch.night.retrieve import retrieve_task
from recsys_batch.replay.cuts import Cut, cuts_by_days, cuts_by_last_acts, requests_of
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


def write_examples(run: Run, kind: RankedKind, ranker: Ranker, training: RankerTraining) -> Parts:
    """Make the examples of every cut; those that an interrupted call finished stand."""
    learn, test = [], ""
    interactions = run.read_prepared(Tables.INTERACTIONS)
    for cut in _cuts(run, kind, interactions, training):
        place = f"{kind}-{cut.number}"
        done = set(list_folders(run.spark, run.folder("examples")))
        if not {f"{place}-learn", *([f"{place}-test"] if cut.number == 0 else [])} <= done:
            log.info("%s lists: %s", kind, cut.describe)
            _write_cut(run, kind, cut, place, ranker, training)
        learn.append(run.folder("examples", f"{place}-learn"))
        if cut.number == 0:
            test = run.folder("examples", f"{place}-test")
    return Parts(learn, test)


def read_examples(folder: str, own_sources: Sequence[str] = ()) -> Examples:
    """Return the examples in a folder, by key."""
    names = feature_names(own_sources)
    system, path = open_folder(folder)
    table = pads.dataset(path, filesystem=system, format="parquet").to_table().sort_by("key")
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


def _cuts(run: Run, kind: RankedKind, interactions: DataFrame, training: RankerTraining) -> Iterator[Cut]:
    # A request has no time: what it is followed by is what comes next.
    if kind == "request" or training.replay == "last_acts":
        return cuts_by_last_acts(interactions, training)
    return cuts_by_days(interactions, run.ds, run.config.prepare, training)


def _write_cut(run: Run, kind: RankedKind, cut: Cut, place: str, ranker: Ranker, training: RankerTraining) -> None:
    known = run.leave(cut.known, "cuts", place, "known")
    acts = write_index(run, known, "cuts", place, "index", ranker=ranker)
    repeats = run.config.rerank.allow_repeats
    if kind == "user":
        profiles = histories.user_profiles(user_histories(known, run.config.prepare), repeats, acts)
    else:
        longest = run.read_prepared(Tables.REQUESTS).agg(F.max(F.size("item_ids"))).first()
        vectors = known.select(F.lit("").alias("query"), F.lit(None).cast("ARRAY<FLOAT>").alias("vector")).limit(0)
        requests = requests_of(known, max(longest[0] or 1 if longest is not None else 1, 1))
        profiles = histories.request_profiles(requests, run.items(), vectors, repeats)
    wanted = cut.wanted
    if not repeats:
        had = profiles.select(F.col("key").alias("user_id"), F.explode("seen").alias("item_index"))
        wanted = wanted.join(had, ["user_id", "item_index"], "left_anti")
    targets = wanted.groupBy(F.col("user_id").alias("key")).agg(
        F.array_sort(F.collect_set("item_index")).alias("targets")
    )
    # By hash, so that the same users are drawn on any number of machines.
    drawn = profiles.join(targets, "key").orderBy(F.xxhash64("key"), "key").limit(training.max_users)
    kept = run.leave(
        drawn.withColumn("bucket", F.pmod(F.xxhash64(F.lit(7), "key"), F.lit(_BUCKETS))), "cuts", place, "profiles"
    )
    index = run.folder("cuts", place, "index")
    task = retrieve_task(run, index, run.folder("progress", f"replay-{place}"), ranker)
    block, own = run.config.retrieve.profile_block, tuple(ranker.sources)
    spread = kept.repartition(run.parallelism * 4, "key")
    candidates = run.leave(map_batches(spread.select(*PROFILES.names), task), "cuts", place, "candidates")
    joined = candidates.join(kept.select("key", "targets", "bucket"), "key")
    # Users that are tested on teach nothing, at any cut.
    is_test = F.col("bucket") < int(training.test_share * _BUCKETS)
    if cut.number == 0:
        run.leave(
            map_batches(joined.where(is_test).drop("bucket"), MakeExamples(index, block, True, own)),
            "examples",
            f"{place}-test",
        )
    learned = joined.where(~is_test).drop("bucket")
    run.leave(map_batches(learned, MakeExamples(index, block, False, own)), "examples", f"{place}-learn")
    for name in ("known", "profiles", "candidates", "index"):
        delete_folder(run.spark, run.folder("cuts", place, name))
