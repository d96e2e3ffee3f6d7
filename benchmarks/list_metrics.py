"""Time and memory of `recsys_batch.spark.evaluation.accuracy.measure_lists` on generated lists, in local mode.

Every user has a list of random items and a few targets, a part of which are in the list. Prints one JSON line. The
settings are those of conf/spark/local.conf. `seconds` and `cpu_seconds` (of the JVM, which is driver and executors in
one) include making the rows; `peak_driver_mib` is the most resident memory that the JVM ever had.
"""

import argparse
import json
import os
import sys
import time
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

SETTINGS = f"--properties-file {ROOT / 'conf/spark/local.conf'} pyspark-shell"
METRICS = ("precision", "recall", "recall_min", "hit_rate", "mrr", "map", "map_min", "ndcg")


def make_lists(spark, users: int, rows: int, items: int):
    """Return `rows` distinct random items a user with ranks 1 to `rows` and falling scores."""
    from pyspark.sql import functions as F

    # A random start and a random step, so that no item occurs twice in a list.
    start, step = F.xxhash64("user_id", F.lit("start")), F.xxhash64("user_id", F.lit("step"))
    numbers = spark.range(users * rows).select(
        F.concat(F.lit("u"), F.floor(F.col("id") / rows)).alias("user_id"), (F.col("id") % rows + 1).alias("rank")
    )
    step_of_user = 1 + F.pmod(step, F.lit(items // rows - 1))
    return numbers.select(
        "user_id",
        F.concat(F.lit("i"), F.pmod(F.pmod(start, F.lit(items)) + F.col("rank") * step_of_user, F.lit(items))).alias(
            "item_id"
        ),
        F.col("rank").cast("int").alias("rank"),
        (1.0 / F.col("rank")).alias("score"),
    )


def make_targets(lists, rows: int):
    """Return a target a user from the list at a random place, and one that is in no list."""
    from pyspark.sql import functions as F

    chosen = F.pmod(F.xxhash64("user_id", F.lit("target")), F.lit(rows)) + 1 == F.col("rank")
    return (
        lists.where(chosen)
        .select("user_id", F.explode(F.array("item_id", F.concat(F.lit("other-"), "item_id"))).alias("item_id"))
        .withColumn("grade", (1 + F.pmod(F.xxhash64("item_id"), F.lit(3))).cast("double"))
    )


def find_jvm() -> psutil.Process:
    """Return the JVM below this process."""
    return next(child for child in psutil.Process().children(recursive=True) if child.name() == "java")


def peak_of(process: psutil.Process) -> float:
    """Return the most resident memory that the process ever had, in MiB."""
    lines = Path(f"/proc/{process.pid}/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))


def main() -> None:
    """Parse, run, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--users", type=int, default=1_000_000)
    parser.add_argument("--rows", type=int, default=20, help="length of a list")
    parser.add_argument("--items", type=int, default=100_000)
    parser.add_argument("--ks", type=int, nargs="+", default=[5, 10, 20])
    parser.add_argument("--metrics", nargs="+", default=list(METRICS))
    parser.add_argument("--partitions", type=int, default=64)
    options = parser.parse_args()
    os.chdir(ROOT)
    os.environ |= {"PYSPARK_SUBMIT_ARGS": SETTINGS, "PYTHONPATH": str(ROOT)}

    from recsys_batch.spark.evaluation.accuracy import measure_lists
    from recsys_batch.spark.session import get_session

    spark = get_session("list metrics")
    lists = make_lists(spark, options.users, options.rows, options.items)
    targets = make_targets(lists, options.rows)
    jvm = find_jvm()
    started, cpu_before = time.monotonic(), sum(jvm.cpu_times()[:2])
    found = measure_lists(lists, targets, metrics=options.metrics, ks=options.ks, num_partitions=options.partitions)
    seconds = time.monotonic() - started
    line = {
        "benchmark": "list_metrics",
        "users": options.users,
        "rows": options.users * options.rows,
        "metrics": len(found),
        "partitions": options.partitions,
        "seconds": round(seconds, 1),
        "cpu_seconds": round(sum(jvm.cpu_times()[:2]) - cpu_before, 1),
        "peak_driver_mib": round(peak_of(jvm)),
        "load_average": round(os.getloadavg()[0], 2),
        "values": {f"{m.metric}@{m.k}": round(m.value, 6) for m in found if m.k == max(options.ks) or m.k is None},
    }
    print(json.dumps(line))
    spark.stop()


if __name__ == "__main__":
    main()
