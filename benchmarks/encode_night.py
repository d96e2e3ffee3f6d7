"""What the benchmarks of the encoding stage share: a session as users have it, a lake, and the night's own stage."""

import logging
import os
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from pyspark.sql import Row, SparkSession  # noqa: E402

from benchmarks.prepare import family_of  # noqa: E402
from recsys_batch.contracts.columns import Tables  # noqa: E402
from recsys_batch.contracts.config.night import Config  # noqa: E402
from recsys_batch.contracts.identity import new_run_id  # noqa: E402
from recsys_batch.contracts.run_facts import RunFacts  # noqa: E402
from recsys_batch.night.context import Run  # noqa: E402
from recsys_batch.night.encode import encode  # noqa: E402
from recsys_batch.report.progress import read_progress  # noqa: E402
from recsys_batch.report.summary import RunSummary  # noqa: E402
from recsys_batch.spark.lake.prepared import replace_prepared  # noqa: E402
from recsys_batch.spark.lake.tables import Lake  # noqa: E402
from recsys_batch.spark.session import get_session  # noqa: E402
from recsys_batch.training.registry.find import find_encoder  # noqa: E402

ITEM_DDL = "item_id STRING, title STRING, price DOUBLE, text STRING"
# The run that the catalogs are prepared under.
PREPARED_RUN = "benchmark"


@dataclass
class Night:
    """What one run of the stage took: seconds from its call to its end, and what the worker counted."""

    seconds: float
    counts: dict[str, float]
    peaks: dict[str, float] = field(default_factory=dict)
    """Peak resident MiB by kind of process: `jvm`, `worker` (the largest Python worker)."""
    task_seconds: float = 0.0
    """From the task's first batch to its end: loading the model, encoding, and handing over the vectors."""
    encode_seconds: float = 0.0
    """The worker's own time in forward passes."""


@contextmanager
def open_session(cores: int) -> Iterator[SparkSession]:
    """Start Spark in local mode by conf/spark/local.conf, as `spark-submit` would; stop it at the end."""
    os.environ["PYSPARK_PYTHON"] = sys.executable
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    os.chdir(ROOT)
    lines = (ROOT / "conf/spark/local.conf").read_text(encoding="utf-8").splitlines()
    settings = dict(line.split(None, 1) for line in lines if line.strip() and not line.startswith("#"))
    jars = sorted(str(jar) for jar in (ROOT / ".cache/jars").glob("*.jar"))
    settings |= {"spark.jars": ",".join(jars), "spark.master": f"local[{cores},4]"}
    builder = SparkSession.builder
    for key, value in settings.items():
        builder = builder.config(key, value.strip())
    builder.getOrCreate()
    logging.getLogger("recsys_batch").setLevel(logging.WARNING)
    spark = get_session("recsys-batch benchmark")
    try:
        yield spark
    finally:
        spark.stop()


@contextmanager
def temporary_lake(spark: SparkSession) -> Iterator[Lake]:
    """Open an empty lake that goes at the end."""
    with tempfile.TemporaryDirectory(prefix="bench_lake_") as folder:
        yield Lake.at(spark, folder)


def write_items(lake: Lake, rows: Sequence[tuple[str, str, float, str]], ds: date) -> None:
    """Write the prepared catalog of a date from rows (item_id, title, price, text)."""
    frame = lake.spark.createDataFrame(list(rows), ITEM_DDL)
    replace_prepared(lake, Tables.ITEMS, frame, ds, PREPARED_RUN)


def run_encode(lake: Lake, ds: date, **encoder: object) -> Night:
    """Run the night's encoding stage on the prepared catalog of `ds`, watching the memory of all processes."""
    nowhere = {"format": "delta", "path": lake.root, "select": {}}
    events = nowhere | {"select": {c: c for c in ("user_id", "event_type", "event_time")}}
    items = nowhere | {"select": {c: c for c in ("item_id", "title")}}
    config = Config.model_validate(
        {
            "name": "benchmark",
            "lake": {"root": lake.root},
            # The stage reads what was prepared; these are never opened.
            "sources": {"events": [events], "items": [items]},
            "encoder": encoder,
            "lists": {"queries": 0},
        }
    )
    settings, fingerprint = find_encoder(config)
    summary = RunSummary(config.name, ds.isoformat())
    facts = RunFacts(made_by={"prepare": PREPARED_RUN})
    run_id = new_run_id(ds, "benchmark")
    run = Run(lake.spark, config, ds, lake, run_id, settings, fingerprint, summary, facts=facts)
    with peaks_of_processes() as peaks:
        started = time.perf_counter()
        encode(run)
        seconds = time.perf_counter() - started
    states = read_progress(run.folder("progress", "encode-document"))
    counts = {name.removeprefix("encode.document_"): value for name, value in summary.counts.items()}
    taken = [
        max((float(state.get(name, 0)) for state in states), default=0.0) for name in ("seconds", "encode_seconds")
    ]
    return Night(seconds, counts, peaks, *taken)


def read_vectors(lake: Lake) -> list[Row]:
    """Return the stored (text_key, vector)."""
    return lake.read(Tables.EMBEDDINGS).select("text_key", "vector").collect()


@contextmanager
def peaks_of_processes() -> Iterator[dict[str, float]]:
    """Note peak resident memory (MiB) of the JVM (`jvm`) and of the largest Python worker (`worker`) meanwhile."""
    peaks: dict[str, float] = {}
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(0.5):  # looking through all processes takes a few percent of a core as it is
            for process in family_of(os.getpid()):
                try:
                    kind = "worker" if is_worker(process) else "jvm" if process.name() == "java" else ""
                    peaks[kind] = max(peaks.get(kind, 0.0), process.memory_info().rss / 2**20)
                except psutil.Error:  # it ended between being listed and being asked
                    continue

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield peaks
    finally:
        ended.set()
        watcher.join()


def end_workers() -> None:
    """End Spark's idle Python workers, as it does itself after a minute, so that what follows starts its own."""
    workers = [process for process in family_of(os.getpid()) if is_worker(process)]
    for worker in workers:
        with suppress(psutil.NoSuchProcess):
            worker.kill()
    _, alive = psutil.wait_procs(workers, timeout=10)
    if alive:
        raise RuntimeError(f"Python workers still live: {[worker.pid for worker in alive]}")


def is_worker(process: psutil.Process) -> bool:
    """Whether it is a Python worker: the daemon forks them, and both show the daemon's command line."""
    try:
        parent = process.parent()
        return parent is not None and _is_of_daemon(process) and _is_of_daemon(parent)
    except psutil.Error:
        return False


def _is_of_daemon(process: psutil.Process) -> bool:
    return "recsys_batch.workers.daemon" in process.cmdline()
