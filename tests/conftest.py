"""One Spark session for all tests, configured by the file that users run with."""

import logging
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

# It prints a page of Java frames for every expression that a test gets wrong on purpose.
logging.getLogger("DataFrameQueryContextLogger").setLevel(logging.CRITICAL)

ROOT = Path(__file__).parent.parent
DATA = Path(os.environ.get("DATA", ROOT.parent / "shared" / "data"))


def spark_settings() -> dict[str, str]:
    """Read conf/spark/local.conf as spark-submit does."""
    lines = (ROOT / "conf/spark/local.conf").read_text(encoding="utf-8").splitlines()
    pairs = (line.split(None, 1) for line in lines if line.strip() and not line.startswith("#"))
    return {key: value.strip() for key, value in pairs}


# The files with long tests, in parts of less than ten minutes each: CI runs one part, another one for each commit.
# Tests of a file stay together, since they share what is expensive to make.
LONG_PARTS = (
    ("e2e/test_incremental.py", "spark/test_spark_compaction.py", "spark/test_spark_input_log.py"),
    ("e2e/test_train.py",),
    ("e2e/test_standalone.py", "e2e/test_doctor.py"),
    ("e2e/test_model_switch.py", "spark/test_spark_orphans.py", "e2e/test_resume.py"),
    ("faults/test_kills.py", "faults/test_cluster_kills.py", "spark/test_spark_races.py"),
    ("e2e/test_blocked_input.py", "spark/test_spark_maintain.py", "spark/test_spark_published_bins.py"),
    ("spark/test_spark_shop_inputs.py",),
    ("e2e/test_pseudonyms.py",),
    ("e2e/test_ranker.py",),
    ("e2e/test_backfill.py", "e2e/test_forget_user.py"),
    ("e2e/test_hold_out.py", "spark/test_spark_measure.py", "spark/test_spark_request_targets.py"),
)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--long-part", type=int, default=0, help=f"of the long tests, run part 1 to {len(LONG_PARTS)}; above it, modulo"
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the long tests of other parts, and refuse a long test that no part has."""
    part_of = {file: number for number, files in enumerate(LONG_PARTS) for file in files}
    long = {item: item.path.relative_to(ROOT / "tests").as_posix() for item in items if item.get_closest_marker("long")}
    if lost := sorted(set(long.values()) - set(part_of)):
        raise pytest.UsageError(f"LONG_PARTS in tests/conftest.py lacks the long tests of {', '.join(lost)}")
    if asked := config.getoption("--long-part"):
        part = (asked - 1) % len(LONG_PARTS)
        print(f"long tests: part {part + 1} of {len(LONG_PARTS)}")
        others = [item for item, file in long.items() if part_of[file] != part]
        config.hook.pytest_deselected(items=others)
        items[:] = [item for item in items if item not in set(others)]


def start_session() -> "SparkSession":
    """Start a session as tests need it: two task slots, little compiling."""
    from pyspark.sql import SparkSession

    from recsys_batch.spark.session import get_session

    jars = sorted(str(jar) for jar in (ROOT / ".cache/jars").glob("*.jar"))
    if not jars:
        pytest.fail("no Delta jars in .cache/jars: run `make setup` first")
    os.environ["PYSPARK_PYTHON"] = sys.executable
    builder = SparkSession.builder
    # Tables of a few rows: compiling code for each of the thousands of plans takes longer than interpreting them.
    interpreted = {"spark.sql.codegen.wholeStage": "false", "spark.sql.codegen.factoryMode": "NO_CODEGEN"}
    # Compiled once and quickly: the thorough compiler takes a third of the CPU and pays back in hours. More room than
    # this compiler's default, or what it made is thrown out and made again.
    java = "-XX:TieredStopAtLevel=1 -XX:ReservedCodeCacheSize=256m -XX:MetaspaceSize=512m"
    # Two task slots whatever the machine has, so that results do not depend on it; four attempts, as users have.
    fixed = {"spark.jars": ",".join(jars), "spark.master": "local[2,4]"} | interpreted
    # As a small night has it: planning anew makes a job of every shuffle. Two partitions, since one hides much.
    fixed |= {
        "spark.sql.adaptive.enabled": "false",
        "spark.sql.shuffle.partitions": "2",
        "spark.databricks.delta.snapshotPartitions": "1",
    }
    settings = spark_settings() | fixed
    settings["spark.driver.extraJavaOptions"] += f" {java}"
    for key, value in settings.items():
        builder = builder.config(key, value)
    builder.getOrCreate()
    return get_session("recsys-batch tests")


@pytest.fixture(scope="session")
def spark() -> Iterator["SparkSession"]:
    session = start_session()
    yield session
    session.stop()


@pytest.fixture(scope="session")
def demo_shop(spark, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small demo shop, dirt included."""
    from datetime import date

    from recsys_batch.demo.shop import write_shop
    from recsys_batch.demo.spec import ShopSpec

    folder = tmp_path_factory.mktemp("shop") / "small"
    write_shop(spark, ShopSpec(num_users=60, num_items=200, num_days=20, end=date(2026, 6, 30), seed=3), str(folder))
    _write_exclusions(spark, folder)
    return folder


def _write_exclusions(spark: "SparkSession", shop: Path) -> None:
    """Exclude the items that are acted on most from every user's list."""
    events = spark.read.parquet(f"{shop}/events").where("item_id IS NOT NULL AND user_id IS NOT NULL")
    top = events.groupBy("item_id").count().orderBy("count", "item_id", ascending=False).limit(5).collect()
    users = sorted(row.user_id for row in events.select("user_id").distinct().collect())
    rows = ["user_id,item_id", *(f"{user},{row.item_id}" for user in users for row in top)]
    (shop / "exclusions.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
