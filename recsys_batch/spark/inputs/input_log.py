"""The input log: rows of an input table as they were read and normalized once, so that a night reads only new files.

Everything that depends on other rows, or on the date, is worked out anew every night from the log; so an incremental
night writes what a full one would. A file that changed is read again; rows of files that are gone no longer count.
Knows no rule of any input table: the caller brings the normalization.
"""

import hashlib
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date

from delta.tables import DeltaTable
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from recsys_batch.contracts.columns import Inputs
from recsys_batch.contracts.config.night import Source
from recsys_batch.spark.inputs.readers import files_of, option_of
from recsys_batch.spark.inputs.sources import FILE, at_date, read_source
from recsys_batch.spark.lake.files import FileState, absolute_uri
from recsys_batch.spark.lake.tables import Lake, retry_conflicts
from recsys_batch.spark.session import make_frame

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


def _known_files(lake: Lake, table: str) -> set[int]:
    if not lake.exists(FILES):
        return set()
    rows = lake.read(FILES).where(F.col("table") == table).select("file_key").collect()
    return {row.file_key for row in rows}


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
    keys = make_frame(lake.spark, [(key,) for key in current], "file_key BIGINT")
    entered = lake.read(FILES).where(F.col("table") == table).join(F.broadcast(keys), "file_key", "left_semi")
    counted = entered.select(F.col("batch_file").alias(_BATCH_FILE))
    return lake.read(_log_name(table)).join(F.broadcast(counted), _BATCH_FILE, "left_semi").drop(_BATCH_FILE)


def _log_name(table: str) -> str:
    if table not in Inputs.TYPES:
        raise ValueError(f"{table!r} is no input table; known: {', '.join(Inputs.TYPES)}")
    return f"input_log/{table}"


def _united(frames: Sequence[DataFrame]) -> DataFrame:
    united = frames[0]
    for frame in frames[1:]:
        united = united.unionByName(frame, allowMissingColumns=False)
    return united
