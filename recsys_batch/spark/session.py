"""The session of a job: settings that correctness depends on are set here, those of speed in `conf/spark`."""

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import cast

import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.pandas.types import to_arrow_schema
from pyspark.sql.types import StructType

from recsys_batch.contracts.errors import ConfigError

# What a wrong value of would change results or lose rows silently.
_REQUIRED_SETTINGS = {
    "spark.sql.session.timeZone": "UTC",
    # One unreadable value must become null, and so a quarantined row, never the end of the night.
    "spark.sql.ansi.enabled": "false",
    "spark.sql.execution.arrow.pyspark.validateSchema.enabled": "true",
    "spark.databricks.delta.commit.idempotencyCheck.enabled": "true",
    # A folder `sku=00100` names the item 00100.
    "spark.sql.sources.partitionColumnTypeInference.enabled": "false",
    # One item that gives an attribute twice ends no night.
    "spark.sql.mapKeyDedupPolicy": "LAST_WIN",
    # Times as pandas writes them; `inputs.readers` makes times of the numbers.
    "spark.sql.legacy.parquet.nanosAsLong": "true",
    # Exports of old tills and spreadsheets are in windows-1252 or GBK.
    "spark.sql.legacy.javaCharsets": "true",
}

_DELTA_CLASS = "org.apache.spark.sql.delta.catalog.DeltaCatalog"
# More rows than this are not sent to every executor.
MAX_BROADCAST_ROWS = 2_000_000
# Bytes of input files. Below the first, compiling a plan takes longer than interpreting it (a shop of 0.5 MB gains a
# seventh of its night, one of 3 MB and 540,000 events loses a tenth), and so does a second task; below the second, so
# does planning anew.
_SMALL_BYTES = 2**20
_ADAPTIVE_FROM_BYTES = 64 * 2**20


def open_session(app_name: str) -> SparkSession:
    """Return the session that `spark-submit` configures, whatever its settings are."""
    # Workers otherwise run whatever `python3` the PATH of the executor names.
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    return SparkSession.builder.appName(app_name).getOrCreate()


def get_session(app_name: str) -> SparkSession:
    """Return the session that `spark-submit` configures. Raises ConfigError where Delta Lake is not set up."""
    spark = open_session(app_name)
    if "DeltaSparkSessionExtension" not in (spark.conf.get("spark.sql.extensions", "") or ""):
        spark.stop()
        raise ConfigError(
            "the Spark session has no Delta Lake: start the job with "
            "`spark-submit --properties-file conf/spark/local.conf jobs/...` (or standalone.conf)"
        )
    if not spark._jvm.org.apache.spark.util.Utils.classIsLoadable(_DELTA_CLASS):  # type: ignore[union-attr]
        jars = spark.conf.get("spark.jars", "") or spark.conf.get("spark.jars.packages", "")
        spark.stop()
        raise ConfigError(
            f"Delta Lake's jars are not loaded (spark.jars: {jars or 'nothing found'}); a relative path such as "
            f".cache/jars/*.jar is looked for in the working folder, {Path.cwd()}: start the job in the folder of the "
            "checkout (after `make ready`), or give the jars an absolute path (`--conf spark.jars=/path/*.jar`)"
        )
    for key, value in _REQUIRED_SETTINGS.items():
        spark.conf.set(key, value)
    spark.sparkContext.setLogLevel("ERROR")
    return spark


@contextmanager
def with_settings(spark: SparkSession, values: Mapping[str, str]) -> Iterator[None]:
    """Run a block under other settings of the session; those before it come back however it ends."""
    before = {key: spark.conf.get(key, None) for key in values}
    for key, value in values.items():
        spark.conf.set(key, value)
    try:
        yield
    finally:
        for key, old in before.items():
            if old is None:
                spark.conf.unset(key)
            else:
                spark.conf.set(key, old)


def local_time(timezone: str) -> dict[str, str]:
    """Return the settings under which days begin and end in the time zone; times are instants whatever it is."""
    return {"spark.sql.session.timeZone": timezone}


def night_settings(input_bytes: int) -> dict[str, str]:
    """Return the settings of speed that a night over so many bytes of input files runs under.

    A night reads partitions whole, so that statistics of files rule none out, and asking them costs Spark jobs.
    Adaptive execution makes a job of every shuffle and plans anew after each: that pays where tables are large or
    skewed.
    """
    settings = {"spark.databricks.delta.stats.skipping": "false"}
    if input_bytes < _ADAPTIVE_FROM_BYTES:
        settings |= {"spark.sql.adaptive.enabled": "false"}
    if is_small(input_bytes):
        settings |= {
            "spark.sql.codegen.wholeStage": "false",
            "spark.sql.codegen.factoryMode": "NO_CODEGEN",
            "spark.sql.shuffle.partitions": "1",
            # A broadcast is a job of its own.
            "spark.sql.autoBroadcastJoinThreshold": "-1",
            "spark.databricks.delta.snapshotPartitions": "1",
        }
    return settings


def is_small(input_bytes: int) -> bool:
    """Whether a night over so many bytes of input files is mostly planning: its frames fit the driver many times."""
    return input_bytes < _SMALL_BYTES


def make_frame(spark: SparkSession, rows: Sequence[Sequence[object] | Mapping[str, object]], ddl: str) -> DataFrame:
    """Return the few rows that the driver made, in the order of their columns or by name, as a frame.

    `createDataFrame` of a list starts Python processes, and others than those of the tasks: seconds for a few rows.
    """
    schema = cast(StructType, StructType.fromDDL(ddl))
    names = schema.fieldNames()
    named = [row if isinstance(row, Mapping) else dict(zip(names, row, strict=True)) for row in rows]
    table = pa.Table.from_pylist(named, to_arrow_schema(schema, timezone="UTC"))
    return spark.createDataFrame(table, schema)


def in_memory(frame: DataFrame) -> DataFrame:
    """Return the rows as they are now, from the driver's memory; for small frames only."""
    return frame.sparkSession.createDataFrame(frame.toArrow(), frame.schema)


def warm_workers(spark: SparkSession) -> None:
    """Start a Python worker beside what the driver does next: the first one takes seconds to import what all need."""

    def start() -> None:
        spark.range(1).mapInArrow(lambda batches: batches, "id LONG").collect()

    # A job that needs a worker says so itself where none can be started.
    pool = ThreadPoolExecutor(1)
    pool.submit(start)
    pool.shutdown(wait=False)


def tasks_done(spark: SparkSession) -> str:
    """Say how far the Spark stages are that run now, such as `3 of 8 tasks of 2 Spark stages done`; empty for none."""
    tracker = spark.sparkContext.statusTracker()
    stages = [info for number in tracker.getActiveStageIds() if (info := tracker.getStageInfo(number)) is not None]
    if not stages:
        return ""
    done, tasks = sum(each.numCompletedTasks for each in stages), sum(each.numTasks for each in stages)
    return f"{done:,} of {tasks:,} tasks of {len(stages)} Spark stage{'s' if len(stages) > 1 else ''} done"


def is_local(spark: SparkSession) -> bool:
    """Whether driver and executors are one process."""
    return str(spark.sparkContext.master).startswith("local")
