"""The session of a job: settings that correctness depends on are set here, those of speed in `conf/spark`."""

import os
import sys

from pyspark.sql import SparkSession

from recsys_batch.contracts.errors import ConfigError

# What a wrong value of would change results or lose rows silently.
_REQUIRED_SETTINGS = {
    "spark.sql.session.timeZone": "UTC",
    # One unreadable value must become null, and so a quarantined row, never the end of the night.
    "spark.sql.ansi.enabled": "false",
    "spark.sql.execution.arrow.pyspark.validateSchema.enabled": "true",
    "spark.databricks.delta.commit.idempotencyCheck.enabled": "true",
}


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
    for key, value in _REQUIRED_SETTINGS.items():
        spark.conf.set(key, value)
    spark.sparkContext.setLogLevel("ERROR")
    return spark


def is_local(spark: SparkSession) -> bool:
    """Whether driver and executors are one process."""
    return str(spark.sparkContext.master).startswith("local")
