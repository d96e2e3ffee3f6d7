"""How the cost of `prepare` grows: demo shops of several sizes, and a shop with a giant user and a ubiquitous item.

The skewed shop gives 30% of all events to one user, and puts one item into half of all baskets. Each run is a
`spark-submit` of its own; peak memory is that of the JVM and of the largest Python worker. Prints one JSON line.
"""

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parent.parent
SUBMIT = [str(Path(sys.executable).parent / "spark-submit"), "--properties-file", str(ROOT / "conf/spark/local.conf")]
DS = "2026-06-30"


def submit(*args: str, shop: Path | None = None) -> tuple[float, dict[str, float]]:
    """Run a job; return its seconds and the peak resident memory (MiB) by kind of process."""
    variables = {"DEMO_SHOP": str(shop)} if shop else {}
    env = os.environ | {"PYTHONPATH": str(ROOT), "PYSPARK_PYTHON": sys.executable} | variables
    started = time.monotonic()
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen([*SUBMIT, *args], cwd=ROOT, env=env, stdout=log, stderr=subprocess.STDOUT)
        peaks: dict[str, float] = {}
        ended = threading.Event()
        watcher = threading.Thread(target=watch, args=(process.pid, peaks, ended))
        watcher.start()
        code = process.wait()
        seconds = time.monotonic() - started
        ended.set()
        watcher.join()
        if code:
            log.seek(0)
            sys.exit(f"{' '.join(args)} failed with exit code {code}:\n{log.read().decode()[-3000:]}")
    return seconds, peaks


def watch(pid: int, peaks: dict[str, float], ended: threading.Event) -> None:
    """Note the peak memory of the JVM and of the largest Python worker until the job has ended."""
    while not ended.wait(0.2):
        for member in family_of(pid):
            try:
                kind = "jvm" if member.name() == "java" else "worker" if "pyspark" in " ".join(member.cmdline()) else ""
                peaks[kind] = max(peaks.get(kind, 0.0), member.memory_info().rss / 2**20)
            except psutil.Error:  # it ended between being listed and being asked
                continue


def family_of(pid: int) -> list[psutil.Process]:
    """Return the process and all below it, none where it is gone."""
    try:
        first = psutil.Process(pid)
        return [first, *first.children(recursive=True)]
    except psutil.Error:
        return []


def prepare(shop: Path, lake: Path, *overrides: str) -> dict[str, float]:
    """Run the stage on a fresh lake; return its seconds, counts and peaks."""
    status = lake / "status.json"
    sets = [part for override in (f"lake.root={lake}", *overrides) for part in ("--set", override)]
    job = ["jobs/nightly.py", "--config", "conf/demo.yaml", "--ds", DS, "--stage", "prepare"]
    wall, peaks = submit(*job, *sets, "--status-file", str(status), shop=shop)
    found = json.loads(status.read_text())
    return {
        "events": int(found["counts"]["prepare.events_read"]),
        "seconds": round(found["stages"]["prepare"], 1),
        "wall_seconds": round(wall, 1),
        "jvm_mib": round(peaks.get("jvm", 0)),
        "worker_mib": round(peaks.get("worker", 0)),
    }


def make_shop(folder: Path, users: int, items: int) -> Path:
    """Generate the shop where it is not there yet."""
    if not (folder / "truth/manifest.json").exists():
        submit("jobs/make_demo_shop.py", "--out", str(folder), "--users", str(users), "--items", str(items))
    return folder


def skew_shop(plain: Path, folder: Path) -> Path:
    """Write the shop again with 30% of its events given to one user and one item put into half of all baskets."""
    if (folder / "events/_SUCCESS").exists():
        return folder
    from pyspark.sql import SparkSession, Window
    from pyspark.sql import functions as F

    settings = "spark.driver.memory=4g spark.ui.enabled=false spark.sql.session.timeZone=UTC"
    os.environ["PYSPARK_SUBMIT_ARGS"] = " ".join(f"--conf {s}" for s in settings.split()) + " pyspark-shell"
    spark = SparkSession.builder.master("local[*]").getOrCreate()
    events = spark.read.parquet(f"{plain}/events")
    orders = (F.col("event_type") == "purchase") & F.col("session_id").isNotNull()
    basket = Window.partitionBy("session_id", orders).orderBy("event_id")
    chosen = orders & (F.row_number().over(basket) == 1) & (F.xxhash64("session_id") % 2 == 0)
    giant = F.pmod(F.xxhash64("event_id", F.lit("giant")), F.lit(10)) < 3
    skewed = events.withColumn("item_id", F.when(chosen, "sku-00001").otherwise(F.col("item_id"))).withColumn(
        "user_id", F.when(giant, "u9999999").otherwise(F.col("user_id"))
    )
    skewed.repartition(60, "day").write.partitionBy("day").parquet(f"{folder}/events")
    spark.stop()
    for table in ("items", "reviews"):
        (folder / table).symlink_to(plain / table)
    return folder


def main() -> None:
    """Parse, run, fit, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--what", choices=["scale", "skew"], required=True)
    parser.add_argument("--shops", type=Path, default=ROOT / "lake/bench_shops", help="where shops are kept")
    parser.add_argument("--users", type=int, nargs="+", default=[17_500, 70_000, 280_000])
    parser.add_argument("--items", type=int, default=5_000)
    options = parser.parse_args()
    options.shops.mkdir(parents=True, exist_ok=True)
    shops = options.shops.absolute()
    with tempfile.TemporaryDirectory() as folder:
        if options.what == "scale":
            # The fixed start is what a shop of no size costs.
            start = prepare(make_shop(shops / "empty", 20, 200), Path(folder) / "start")
            runs = [
                prepare(make_shop(shops / str(users), users, options.items), Path(folder) / str(users))
                for users in options.users
            ]
            first, last = runs[0], runs[-1]
            above = [run["seconds"] - start["seconds"] for run in (first, last)]
            exponent = math.log(above[1] / above[0]) / math.log(last["events"] / first["events"])
            print(
                json.dumps({"benchmark": "prepare_scale", "start": start, "runs": runs, "exponent": round(exponent, 3)})
            )
            return
        users = options.users[0]
        plain = make_shop(shops / str(users), users, options.items)
        skewed = skew_shop(plain, shops / f"{users}_skewed")
        # Otherwise the giant would be taken for a bot, and left out.
        keep = "prepare.accounts.bots=keep"
        theirs, ours = prepare(plain, Path(folder) / "plain", keep), prepare(skewed, Path(folder) / "skewed", keep)
        ratio = round(ours["seconds"] / theirs["seconds"], 3)
        print(json.dumps({"benchmark": "prepare_skew", "plain": theirs, "skewed": ours, "seconds_ratio": ratio}))


if __name__ == "__main__":
    main()
