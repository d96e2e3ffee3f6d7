"""Spoiled sources through the readers and `prepare` in stages: no crash, and no row lost.

    python -m tests.fuzz.fuzz_inputs --nights 200 --seed 1

A source is either read record for record, or refused by an error of ours that names it; every row that was read gets a
status. Anything else is a fault: its sources stay in the folder that the report names, and `--seed S --only N` plays
night N again, alone.
"""

import argparse
import logging
import random
import shutil
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from pyspark.sql import DataFrame, SparkSession, Window
from pyspark.sql import functions as F

from recsys_batch.contracts.config.night import Config
from recsys_batch.contracts.config.prepare import Prepare
from recsys_batch.contracts.errors import EXIT_INFRASTRUCTURE, RecsysBatchError
from recsys_batch.night.prepare_events import refuse_empty_day
from recsys_batch.report.profile import profile_page
from recsys_batch.rules.expectations import evaluate_expectations, expectations_of
from recsys_batch.spark.catalog.items import choose_items, classify_items, finish_items
from recsys_batch.spark.catalog.missing import fill_missing
from recsys_batch.spark.catalog.near_duplicates import link_near_duplicates
from recsys_batch.spark.catalog.reviews import classify_reviews
from recsys_batch.spark.causes import naming_causes
from recsys_batch.spark.events.classify import classify_events
from recsys_batch.spark.events.histories import user_histories
from recsys_batch.spark.events.interactions import match_undoings, weigh_interactions
from recsys_batch.spark.events.rows import normalize_events, settings_key
from recsys_batch.spark.inputs.expectations import measure
from recsys_batch.spark.inputs.input_log import read_new
from recsys_batch.spark.inputs.notes import count_notes
from recsys_batch.spark.inputs.profile import profile_table
from recsys_batch.spark.inputs.quarantine import STATUS, USED
from recsys_batch.spark.inputs.readers import united_by_name
from recsys_batch.spark.inputs.sources import read_table
from recsys_batch.spark.lake.tables import Lake
from recsys_batch.spark.session import in_memory
from tests.conftest import start_session
from tests.fuzz.spoil import DAY, Spoiled, spoil

log = logging.getLogger("fuzz")
DS = DAY.date()
PREPARE = Prepare()
TABLES = ("items", "reviews", "events")


class RowsLostError(AssertionError):
    """What came out is not what was written."""


def run_nights(spark: SparkSession, folder: Path, draws: Sequence[random.Random]) -> list[str]:
    """Play nights on sources made from `draws`, each source read by itself, all rows prepared together.

    Returns how each source ended, as "table: end".
    """
    made = [{table: spoil(table, folder / f"{n}/{table}", draw) for table in TABLES} for n, draw in enumerate(draws)]
    ends: list[str] = []
    read: dict[str, list[tuple[Spoiled, DataFrame]]] = {table: [] for table in TABLES}
    for night in made:
        for table, source in night.items():
            rows = _read(spark, table, source, folder)
            if isinstance(rows, str):
                ends.append(f"{table}: {rows}")
            else:
                ends.append(f"{table}: read")
                read[table].append((source, rows))
    if read["items"]:
        items = _items([rows for _, rows in read["items"]])
        if read["reviews"]:
            _reviews([rows for _, rows in read["reviews"]], items)
        if read["events"]:
            _events([rows for _, rows in read["events"]], items)
            _events_of_log(spark, [source for source, _ in read["events"]], folder)
    return ends


def _config(**sources: Sequence[Spoiled]) -> Config:
    declared = {table: [one.declared for one in many] for table, many in sources.items()}
    nothing = {"format": "csv", "path": "none", "select": {}}
    needed = {
        "events": [nothing | {"select": {"user_id": "u", "event_type": "t", "event_time": "e"}}],
        "items": [nothing | {"select": {"item_id": "i", "title": "t"}}],
    }
    return Config.model_validate({"name": "fuzz", "sources": needed | declared})


def _read(spark: SparkSession, table: str, source: Spoiled, folder: Path) -> DataFrame | str:
    """Read a source by itself; return its rows, or the refusal."""
    try:
        with naming_causes():
            config = _config(**{table: [source]})
            rows = in_memory(read_table(spark, table, getattr(config.sources, table), DS))
            if table == "events":
                refuse_empty_day(rows, config, DS)
    except RecsysBatchError as error:
        if error.exit_code == EXIT_INFRASTRUCTURE or not any(at in str(error) for at in ("sources.", str(folder))):
            raise
        log.info("%s refused: %s", source.declared["path"], error)
        return f"refused with {error.exit_code} ({type(error).__name__})"
    if rows.count() != source.records:
        raise RowsLostError(f"{table}: {source.records} records written, {rows.count()} read; {source}")
    return rows


def _settled(table: str, classified: DataFrame, records: int, left_out: int = 0) -> DataFrame:
    """Check that every record has a status, look at the rows as reports do, and return the used ones."""
    statuses = {row[STATUS]: row["count"] for row in classified.groupBy(STATUS).count().collect()}
    if None in statuses or sum(statuses.values()) + left_out != records:
        raise RowsLostError(f"{table}: {records} records read, {left_out} left out, statuses {statuses}")
    count_notes(classified)
    asked = expectations_of(table, [], True)
    evaluate_expectations(asked, measure(classified, table, asked, DS, PREPARE))
    profile_page([profile_table(classified, table, DS, PREPARE)], "fuzz", [])
    return classified.where(F.col(STATUS) == USED)


def _together(frames: Sequence[DataFrame]) -> tuple[DataFrame, int]:
    united = in_memory(united_by_name(frames))
    return united, united.count()


def _items(frames: Sequence[DataFrame]) -> DataFrame:
    config = _config()
    raw, records = _together(frames)
    used = _settled("items", in_memory(classify_items(raw, PREPARE, DS)), records)
    chosen = in_memory(choose_items(used, "most_frequent"))
    indexed = chosen.withColumn("item_index", (F.row_number().over(Window.orderBy("item_id")) - 1).cast("int"))
    linked = in_memory(link_near_duplicates(indexed, PREPARE.near_duplicates))
    filled = fill_missing(linked, PREPARE.missing)
    items = in_memory(finish_items(filled, config.item_text, "price > 0", config.rerank.category_level, None))
    if items.count() != used.select("item_id").distinct().count():
        raise RowsLostError("items: not one row for each id that is used")
    return items


def _reviews(frames: Sequence[DataFrame], items: DataFrame) -> None:
    raw, records = _together(frames)
    _settled("reviews", in_memory(classify_reviews(raw, items, PREPARE, DS)), records)


def _events(frames: Sequence[DataFrame], items: DataFrame) -> None:
    raw, records = _together(frames)
    rows = in_memory(normalize_events(PREPARE, None)(raw))
    classified = classify_events(rows, items, DS, PREPARE, lambda frame, _: in_memory(frame))
    used = _settled("events", classified.rows, records, sum(classified.left_out.values()))
    weighed = in_memory(weigh_interactions(used, match_undoings(used), DS, PREPARE))
    if weighed.count() != used.count():
        raise RowsLostError("events: not one interaction for each used event")
    user_histories(weighed, PREPARE).count()
    classified.accounts.unpersist()


def _events_of_log(spark: SparkSession, sources: Sequence[Spoiled], folder: Path) -> None:
    """The log gives what was written, when files are new and when it holds them."""
    lake, declared = Lake.at(spark, str(folder / "lake")), _config(events=sources).sources.events
    normalize, settings = normalize_events(PREPARE, None), settings_key(PREPARE, None)
    records = sum(source.records for source in sources)
    for night in ("first", "second"):
        rows = read_new(lake, "events", declared, DS, normalize, settings).rows.count()
        if rows != records:
            raise RowsLostError(f"events: {records} records written, {rows} in the log in the {night} night")


def main() -> None:
    """Run the nights asked for and report; exits with 1 where a night crashed or lost rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nights", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=float("inf"), help="stop after this time, whatever is left")
    parser.add_argument("--together", type=int, default=8, help="nights whose rows are prepared together")
    parser.add_argument("--verbose", action="store_true", help="print every refusal")
    parser.add_argument("--only", type=int, help="run this night alone")
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO if args.verbose else logging.WARNING, format="%(message)s")
    for noisy in ("py4j", "recsys_batch", "SQLQueryContextLogger", "DataFrameQueryContextLogger"):
        logging.getLogger(noisy).setLevel(logging.CRITICAL)
    spark, root, started = start_session(), Path(tempfile.mkdtemp(prefix="fuzz-")), time.monotonic()
    ends: Counter[str] = Counter()
    faults: list[str] = []
    wanted = [args.only] if args.only is not None else list(range(args.nights))
    played = 0
    while wanted and time.monotonic() - started < args.seconds:
        nights, wanted = wanted[: args.together], wanted[args.together :]
        faults += _play(spark, root, args.seed, nights, ends)
        played += len(nights)
        shown = f"{played} nights, {time.monotonic() - started:.0f} s, {len(faults)} faults"
        print(f"seed {args.seed}: {shown}", flush=True)
    for end, number in sorted(ends.items()):
        print(f"  {number:4} {end}")
    for fault in faults:
        print(f"  {fault}")
    spark.stop()
    sys.exit(1 if faults else 0)


def _play(spark: SparkSession, root: Path, seed: int, nights: Sequence[int], ends: Counter[str]) -> list[str]:
    """Play nights together, and one by one where that fails; return the faults."""
    folder = root / "-".join(map(str, (nights[0], nights[-1])))
    try:
        ends.update(run_nights(spark, folder, [random.Random(f"{seed} {night}") for night in nights]))
    except Exception as error:  # noqa: BLE001 - whatever it is, it is what the fuzzer looks for
        if len(nights) > 1:
            alone = [fault for night in nights for fault in _play(spark, root, seed, [night], ends)]
            if alone:
                return alone
        print("".join(traceback.format_exc().splitlines(keepends=True)[-14:])[:2500])
        return [f"night {nights[0]} to {nights[-1]} in {folder}: {type(error).__name__}: {str(error)[:400]}"]
    finally:
        spark.catalog.clearCache()
    shutil.rmtree(folder)
    return []


if __name__ == "__main__":
    main()
