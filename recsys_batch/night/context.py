"""What every stage of one run knows."""

import logging
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import date
from functools import cached_property
from pathlib import Path

from pyspark import StorageLevel
from pyspark.resource import ResourceProfile
from pyspark.sql import DataFrame, SparkSession

from recsys_batch.contracts.columns import Tables
from recsys_batch.contracts.config.night import Config
from recsys_batch.contracts.run_facts import RunFacts
from recsys_batch.nn.encoder.encoder import EncoderSettings
from recsys_batch.report.progress import Ticker
from recsys_batch.report.summary import RunSummary
from recsys_batch.spark.lake.prepared import read_prepared, replace_prepared
from recsys_batch.spark.lake.runs import RUNS, recent_counts
from recsys_batch.spark.lake.tables import Lake
from recsys_batch.spark.publish.release import standing_runs
from recsys_batch.spark.resources import TaskShare, build_profile, choose_share, read_cluster
from recsys_batch.spark.session import in_memory, is_local, tasks_done

log = logging.getLogger("recsys_batch.night")
# Earlier nights that say what is usual.
_NIGHTS_COMPARED = 7


@dataclass(frozen=True)
class Run:
    """One run of the night for one business date."""

    spark: SparkSession
    config: Config
    ds: date
    lake: Lake
    run_id: str
    encoder: EncoderSettings
    encoder_fingerprint: str
    summary: RunSummary
    ranker: Path | None = None
    """Folder of the ranker's version; None: candidates are blended."""
    inputs: Mapping[str, str] = field(default_factory=dict)
    """Input table -> version."""
    replaces: str | None = None
    """The release of the date that this run may replace; None: the date must have none."""
    facts: RunFacts = field(default_factory=RunFacts)
    is_small: bool = False
    """Whether the inputs are so small that what is parked is best kept in memory."""
    kept: dict[str, DataFrame] = field(default_factory=dict)
    """What a small night wrote and need not read back, by its place."""
    ticker: Ticker = field(default_factory=Ticker)
    """Knows the step that the stage is at."""

    def telling(self, stage: str) -> AbstractContextManager[None]:
        """Have the log say every half minute what the block is at, where one step of it takes long."""
        return self.ticker.ticking(stage, lambda: tasks_done(self.spark))

    def folder(self, *parts: str) -> str:
        """Return the URI of a folder below this run's own."""
        return self._folder(self.run_id, *parts)

    def folder_of(self, stage: str, *parts: str) -> str:
        """Return the URI of a folder that the stage left, in this run or in the one that it goes on from."""
        return self._folder(self.maker_of(stage), *parts)

    def maker_of(self, stage: str) -> str:
        """Return the run whose tables and files of a stage this run reads: an earlier one's, or its own."""
        return self.facts.made_by.get(stage, self.run_id)

    def _folder(self, run_id: str, *parts: str) -> str:
        return "/".join((self.lake.path(RUNS), run_id, *parts))

    def park(self, frame: DataFrame, *parts: str) -> DataFrame:
        """Write what is expensive to make, or took many joins, into a folder of this run, and read it back.

        Unlike a cached frame it ends the plan, lets later steps read only the columns they need, outlives an executor,
        and is not planned anew when a table that it came from is written to. A small night keeps it in memory.
        """
        self.ticker.begin(f"making {parts[-1]}")
        if self.is_small:
            return in_memory(frame)
        return self.leave(frame, *parts)

    def hold(self, frame: DataFrame) -> DataFrame:
        """Keep what is read several times while the stage lasts; to be unpersisted."""
        return in_memory(frame) if self.is_small else frame.persist(StorageLevel.DISK_ONLY)

    def leave(self, frame: DataFrame, *parts: str) -> DataFrame:
        """Write what later stages need into a folder of this run, and read it back (`left`)."""
        folder = self.folder(*parts)
        if self.is_small:
            frame = self.kept[folder] = in_memory(frame)
        frame.write.mode("overwrite").parquet(folder)
        return frame if self.is_small else self.spark.read.schema(frame.schema).parquet(folder)

    def left(self, stage: str, *parts: str) -> DataFrame:
        """Return the rows that the stage left in a folder, in this run or in the one that it goes on from."""
        folder = self.folder_of(stage, *parts)
        return self.kept[folder] if folder in self.kept else self.spark.read.parquet(folder)

    def write_prepared(self, table: str, frame: DataFrame) -> DataFrame:
        """Write the run's slice of a prepared table, and read it back."""
        self.ticker.begin(f"writing {table}")
        if self.is_small:
            frame = self.kept[table] = in_memory(frame)
        replace_prepared(self.lake, table, frame, self.ds, self.run_id)
        return self.read_prepared(table)

    def read_prepared(self, table: str) -> DataFrame:
        """Return the rows of a prepared table that this run works on."""
        if table in self.kept:
            return self.kept[table]
        return read_prepared(self.lake, table, self.ds, self.maker_of("prepare"))

    def items(self) -> DataFrame:
        """Return this date's catalog."""
        return self.read_prepared(Tables.ITEMS)

    @cached_property
    def standing_before(self) -> dict[date, str]:
        """The run whose release stands, of every published date before this one."""
        return standing_runs(self.lake, self.ds)

    @cached_property
    def earlier_counts(self) -> list[dict[str, float]]:
        """What the newest published nights before this one counted, newest first."""
        return recent_counts(self.lake, self.ds, _NIGHTS_COMPARED, self.standing_before)

    @property
    def parallelism(self) -> int:
        """Number of tasks that can run at once."""
        return max(self.spark.sparkContext.defaultParallelism, 1)

    @cached_property
    def encode_share(self) -> TaskShare | None:
        """What an encoding task takes of an executor; None where Spark's settings say it, as in local mode."""
        return choose_share(read_cluster(self.spark))

    @cached_property
    def encode_profile(self) -> ResourceProfile | None:
        """The resource profile of the encoding stages; None where Spark's settings hold."""
        return build_profile(self.encode_share)

    @property
    def encode_partitions(self) -> int:
        """Encoding tasks: as configured, else one in local mode (it takes all cores), and what fits on a cluster."""
        if self.config.encoder.workers:
            return self.config.encoder.workers
        if is_local(self.spark):
            return 1
        return self.encode_share.tasks_at_once if self.encode_share is not None else self.parallelism

    @property
    def encode_threads(self) -> int:
        """Torch threads of an encoding task; 0: what Spark grants the task."""
        return max(self.parallelism // self.encode_partitions, 1) if is_local(self.spark) else 0
