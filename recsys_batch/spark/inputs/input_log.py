"""The input log: rows of an input table as they were read and normalized once, so that a night reads only new files.

Everything that depends on other rows, or on the date, is worked out anew every night from the log; so an incremental
night writes what a full one would. A file that changed is read again; rows of files that are gone no longer count.
Knows no rule of any input table: the caller brings the normalization.
"""

import hashlib
import logging
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date

from delta.tables import DeltaTable
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from recsys_batch.contracts.columns import Inputs
from recsys_batch.contracts.config.night import Source
from recsys_batch.contracts.errors import InputLogChangedError
from recsys_batch.spark.inputs.readers import files_of, option_of
from recsys_batch.spark.inputs.sources import FILE, at_date, read_source
from recsys_batch.spark.lake.files import FileState, absolute_uri
from recsys_batch.spark.lake.tables import Lake, retry_conflicts
from recsys_batch.spark.session import make_frame

log = logging.getLogger("recsys_batch.night")
FILES = "input_files"
_FILES_DDL = (
    "table STRING, file_key BIGINT, batch_file BIGINT, path STRING, length BIGINT, modified_ms BIGINT, batch STRING"
)
# Which file of which batch a row of the log came with.
_BATCH_FILE = "_batch_file"

Normalize = Callable[[DataFrame], DataFrame]


@dataclass(frozen=True)
class Reading:
    """What reading an input came to."""

    rows: DataFrame
    files: int
    """Files behind the sources now."""
    files_read: int
    """Those of them that no earlier night had read."""


def read_whole(spark: SparkSession, table: str, sources: Sequence[Source], ds: date, normalize: Normalize) -> Reading:
    """Read and normalize every file of the sources."""
    dated = [at_date(source, ds) for source in sources]
    frames = [normalize(read_source(spark, table, number, source)) for number, source in enumerate(dated)]
    files = sum(len(files_of(spark, source)) for source in dated)
    return Reading(_united(frames), files, files)


def read_new(
    lake: Lake, table: str, sources: Sequence[Source], ds: date, normalize: Normalize, settings: str
) -> Reading:
    """Read only files that the log does not hold, and return all rows of the sources from the log.

    `settings` names everything besides the source that the normalized rows depend on. Sources of which a file's rows
    cannot be told apart (`is_incremental`) are read in full.
    """
    frames: list[DataFrame] = []
    current: dict[int, FileState] = {}
    whole: list[tuple[int, Source]] = []
    new: list[tuple[int, Source, dict[int, FileState]]] = []
    known = _known_files(lake, table)
    for number, source in enumerate(sources):
        if not is_incremental(lake.spark, source):
            whole.append((number, at_date(source, ds)))
            continue
        keyed = {_file_key(source, file, settings): file for file in files_of(lake.spark, source)}
        if not any(file.length or source.format == "delta" for file in keyed.values()):
            read_source(lake.spark, table, number, source)  # raises the error that names the path
        current.update(keyed)
        unread = {key: file for key, file in keyed.items() if key not in known}
        if unread:
            new.append((number, source, unread))
    if new:
        _append(lake, table, new, normalize)
    if current:
        frames.append(_from_log(lake, table, current))
    frames += [normalize(read_source(lake.spark, table, number, source)) for number, source in whole]
    num_whole = sum(len(files_of(lake.spark, source)) for _, source in whole)
    num_new = sum(len(files) for *_, files in new)
    return Reading(_united(frames), len(current) + num_whole, num_new + num_whole)


def is_incremental(spark: SparkSession, source: Source) -> bool:
    """Whether a file's rows are the same whenever it is read, and can be told from those of other files.

    Not where the date stands in the source, where other files are joined, where Spark would guess the types from all
    files together, and where a Delta table marks rows as deleted within a file.
    """
    if source.joins or any("{ds}" in text for text in (source.path, source.where, *source.select.values())):
        return False
    if source.format == "delta":
        detail = DeltaTable.forPath(spark, absolute_uri(source.path)).detail().first()
        return detail is not None and detail.properties.get("delta.enableDeletionVectors") != "true"
    guessed = source.format == "json" or option_of(source, "inferSchema") == "true"
    return bool(source.schema_ddl) or not guessed


def _file_key(source: Source, file: FileState, settings: str) -> int:
    text = "\n".join((source.model_dump_json(), settings, file.path, str(file.length), str(file.modified_ms)))
    return _number(text)


def _number(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big", signed=True)


def _known_files(lake: Lake, table: str) -> dict[int, int]:
    """Return the entries of the table: file key -> the number that its rows carry."""
    if not lake.exists(FILES):
        return {}
    rows = lake.read(FILES).where(F.col("table") == table).select("file_key", "batch_file").collect()
    return {row.file_key: row.batch_file for row in rows}


def _append(
    lake: Lake, table: str, new: Sequence[tuple[int, Source, dict[int, FileState]]], normalize: Normalize
) -> None:
    """Append the rows of new files, then enter the files: rows of files that never got entered do not count."""
    batch = secrets.token_hex(8)
    frames, entries = [], []
    for number, source, files in new:
        names = [(file.uri, _number(f"{batch}\n{key}")) for key, file in files.items()]
        entries += [
            (table, key, batch_file, file.path, file.length, file.modified_ms, batch)
            for (key, file), (_, batch_file) in zip(files.items(), names, strict=True)
        ]
        named = F.broadcast(make_frame(lake.spark, names, f"{FILE} STRING, {_BATCH_FILE} BIGINT"))
        if source.format == "delta" or any(file.length for file in files.values()):
            raw = read_source(lake.spark, table, number, source, list(files.values()))
            frames.append(normalize(raw.join(named, FILE).drop(FILE)))
    if frames:
        lake.append_once(_log_name(table), _united(frames), batch)
    entered = make_frame(lake.spark, entries, _FILES_DDL)

    def enter() -> None:
        target = DeltaTable.forPath(lake.spark, lake.path(FILES)).alias("t")
        # A file that another run entered in between is its: the rows of this batch then do not count.
        same = "t.table = s.table AND t.file_key = s.file_key"
        target.merge(entered.alias("s"), same).whenNotMatchedInsertAll().execute()

    if not lake.create(FILES, entered):
        retry_conflicts(enter)


def _from_log(lake: Lake, table: str, current: dict[int, FileState]) -> DataFrame:
    # As it stands before the entries are looked up: maintenance takes entries away first, then their rows.
    logged = lake.read(_log_name(table))
    counted = [(batch_file,) for key, batch_file in _known_files(lake, table).items() if key in current]
    if len(counted) != len(current):
        raise InputLogChangedError(
            f"{FILES}: {len(current) - len(counted)} entries of {table} vanished while they were read, as by a "
            "maintenance job under another config; run the night again"
        )
    named = F.broadcast(make_frame(lake.spark, counted, f"{_BATCH_FILE} BIGINT"))
    return logged.join(named, _BATCH_FILE, "left_semi").drop(_BATCH_FILE)


@dataclass(frozen=True)
class Forgotten:
    """What was taken out of the log of one table."""

    files: int
    """Entries: files that are gone, have changed since, or were read under other settings."""
    rows: int


def forget_unread(lake: Lake, table: str, sources: Sequence[Source], settings: str, dry_run: bool = False) -> Forgotten:
    """Take out of the log what a night under these sources and settings would not read.

    The rows are gone from the newest version of the log at once, and from its files when these are vacuumed. Where a
    source lists no file at all nothing is taken: the disk may be away. With `dry_run` nothing is taken either way.
    """
    if not lake.exists(_log_name(table)):
        return Forgotten(0, 0)
    current: set[int] = set()
    for source in (each for each in sources if is_incremental(lake.spark, each)):
        listed = files_of(lake.spark, source)
        if not listed:
            log.warning("input_log/%s: kept whole, as nothing is at %s now", table, source.path)
            return Forgotten(0, 0)
        current.update(_file_key(source, file, settings) for file in listed)
    unread = {key: batch_file for key, batch_file in _known_files(lake, table).items() if key not in current}
    if not unread:
        return Forgotten(0, 0)
    keys = make_frame(lake.spark, [(key,) for key in unread], "file_key BIGINT")
    batches = make_frame(lake.spark, [(batch_file,) for batch_file in unread.values()], f"{_BATCH_FILE} BIGINT")
    rows = lake.read(_log_name(table)).join(F.broadcast(batches), _BATCH_FILE, "left_semi").count()
    if not dry_run:
        # In this order, so that no night counts on an entry whose rows are gone.
        same_file = F.expr("t.file_key = s.file_key") & (F.col("t.table") == table)
        _delete_matched(lake, FILES, keys, same_file)
        _delete_matched(lake, _log_name(table), batches, F.expr(f"t.{_BATCH_FILE} = s.{_BATCH_FILE}"))
    return Forgotten(len(unread), rows)


def _delete_matched(lake: Lake, name: str, keys: DataFrame, same: Column) -> None:
    def delete() -> None:
        target = DeltaTable.forPath(lake.spark, lake.path(name)).alias("t")
        target.merge(keys.alias("s"), same).whenMatchedDelete().execute()

    retry_conflicts(delete)


def _log_name(table: str) -> str:
    if table not in Inputs.TYPES:
        raise ValueError(f"{table!r} is no input table; known: {', '.join(Inputs.TYPES)}")
    return f"input_log/{table}"


def _united(frames: Sequence[DataFrame]) -> DataFrame:
    united = frames[0]
    for frame in frames[1:]:
        united = united.unionByName(frame, allowMissingColumns=False)
    return united
