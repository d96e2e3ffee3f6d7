"""Reads the declared sources of an input table into one typed frame; nothing is dropped here, only marked."""

import hashlib
import re
from collections.abc import Mapping, Sequence
from datetime import date

from pyspark.errors import AnalysisException, ParseException
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from recsys_batch.contracts.columns import Inputs
from recsys_batch.contracts.config.night import EXPLODE, Join, Source
from recsys_batch.contracts.errors import SourceColumnsError
from recsys_batch.spark.inputs.notes import NOTES, notes_on
from recsys_batch.spark.inputs.readers import load_by_name, united_by_name
from recsys_batch.spark.inputs.values import typed
from recsys_batch.spark.lake.files import FileState, file_uri, list_files
from recsys_batch.spark.session import local_time, with_settings

# False on the rows that the source's own `where` leaves out; they are counted, not read further.
KEPT = "_kept"
# The file that a row comes from, as `FileState.uri` writes it.
FILE = "_file"
# An exploded array's element, and its place.
_ELEMENT, _PLACE = "_element", "_place"
_GENERATOR = re.compile(r"\s*EXPLODE(?:_OUTER)?\s*\((?P<array>.+)\)\s*", re.IGNORECASE | re.DOTALL)


def read_table(spark: SparkSession, table: str, sources: Sequence[Source], ds: date) -> DataFrame:
    """Return the union of the sources with the columns of `Inputs.TYPES[table]`, plus `KEPT` and `NOTES`.

    Columns that a source does not give are null. Raises SourceNotFoundError for a path without files and
    SourceColumnsError for an expression that does not resolve.
    """
    return united_by_name(
        [read_source(spark, table, number, at_date(source, ds)) for number, source in enumerate(sources)]
    )


def at_date(source: Source, ds: date) -> Source:
    """Return the source with `{ds}` in its path and expressions replaced by the business date."""
    text = ds.isoformat()
    select = {column: expression.replace("{ds}", text) for column, expression in source.select.items()}
    joins = [join.model_copy(update={"path": join.path.replace("{ds}", text)}) for join in source.joins]
    update = {"path": source.path.replace("{ds}", text), "where": source.where.replace("{ds}", text)}
    return source.model_copy(update={**update, "select": select, "joins": joins})


def version_of(spark: SparkSession, sources: Sequence[Source], ds: date) -> tuple[str, int]:
    """Return a fingerprint of the files behind the sources (names, lengths, times of change), and their bytes."""
    digest, length = hashlib.sha256(), 0
    dated = [at_date(source, ds) for source in sources]
    for path in (reader.path for source in dated for reader in (source, *source.joins)):
        for state in list_files(spark, path):
            digest.update(f"{state.path}\t{state.length}\t{state.modified_ms}\n".encode())
            length += state.length
    return digest.hexdigest()[:16], length


def read_source(
    spark: SparkSession, table: str, number: int, source: Source, files: Sequence[FileState] | None = None
) -> DataFrame:
    """Return one source (`at_date` done) as `read_table` does; with `files`, only these, and the column `FILE`."""
    # Spark settles what a time without a zone means when it resolves an expression.
    with with_settings(spark, local_time(source.timezone) if source.timezone else {}):
        return _read(spark, table, number, source, files)


def _read(spark: SparkSession, table: str, number: int, source: Source, files: Sequence[FileState] | None) -> DataFrame:
    where = f"sources.{table}.{number}"
    raws = load_by_name(spark, where, source, files)
    try:
        return _selected(spark, where, table, source, _completed(raws, raws), files is not None)
    except SourceColumnsError:
        # Of some files only: another one may have the column, which is null in these.
        if files is None or source.format == "delta":
            raise
        known = load_by_name(spark, where, source)
        return _selected(spark, where, table, source, _completed(raws, known), True)


def _completed(raws: Sequence[DataFrame], known: Sequence[DataFrame]) -> list[DataFrame]:
    """Add to each frame, as nulls, the columns that others have."""
    types = {field.name.lower(): field for frame in reversed(known) for field in frame.schema.fields}
    made = []
    for raw in raws:
        own = {name.lower() for name in raw.columns}
        lacking = {field.name: F.lit(None).cast(field.dataType) for key, field in types.items() if key not in own}
        made.append(raw.withColumns(lacking) if lacking else raw)
    return made


def _selected(
    spark: SparkSession, where: str, table: str, source: Source, raws: Sequence[DataFrame], with_file: bool
) -> DataFrame:
    """Take the expressions of the source on each frame, and unite what comes out."""
    frames = []
    types = Inputs.TYPES[table]
    kept = F.coalesce(F.expr(source.where), F.lit(False)) if source.where else F.lit(True)
    source = _with_elements(source)
    select = source.select
    for raw in raws:
        named = raw.withColumn(FILE, file_uri()) if with_file else raw
        joined = _join(spark, where, named, source.joins) if source.joins else named
        try:
            if source.explode:
                joined = _exploded(joined, source.explode)
            asked = joined.select(
                *(F.expr(expression).alias(column) for column, expression in select.items()),
                kept.alias(KEPT),
                *([FILE] if with_file else []),
            )
        except (AnalysisException, ParseException) as error:
            columns = ", ".join(joined.columns)
            raise SourceColumnsError(
                f"{where}: an expression of `select` or `where` does not resolve on {source.path!r}: "
                f"{_first_line(error)}; the file's columns are: {columns}"
            ) from None
        frames.append(_safe(where, asked, types, source.read_as))
    return united_by_name(frames)


def _safe(where: str, asked: DataFrame, types: Mapping[str, str], read_as: Mapping[str, str]) -> DataFrame:
    """Take the columns of `select` through the boundary. Raises SourceColumnsError for one of an unfit type."""
    raw = {column: kind for column, kind in asked.dtypes if column in types}
    given = {column: f"`{column}`" for column in raw}
    made = {c: typed(given.get(c), c, kind, raw.get(c, ""), read_as.get(c, "")) for c, kind in types.items()}
    rest = [column for column in asked.columns if column not in types]
    try:
        notes = notes_on(given, types, raw, made)
        return asked.select(*(value.alias(column) for column, value in made.items()), *rest, notes.alias(NOTES))
    except AnalysisException:
        for column in given:
            _check_type(where, asked, column, made[column], raw[column], types[column])
        raise


def _check_type(where: str, asked: DataFrame, column: str, made: Column, raw: str, kind: str) -> None:
    try:
        asked.select(made)
    except AnalysisException:
        raise SourceColumnsError(
            f"{where}.select.{column}: gives {raw}, of which no {kind} can be made; turn it in `select`"
        ) from None


def _with_elements(source: Source) -> Source:
    """Take `EXPLODE(...)` in `select` for what `explode` says, and tell the rows of one event apart by its id."""
    explode, select = source.explode, {**source.select}
    for column, expression in source.select.items():
        found = _GENERATOR.fullmatch(expression)
        if found and not explode:
            explode, select[column] = f"{found['array']} AS {_ELEMENT}", _ELEMENT
    if explode and "event_id" in select:
        select["event_id"] = f"CONCAT(({select['event_id']}), '#', {_PLACE})"
    return source.model_copy(update={"explode": explode, "select": select})


def _exploded(rows: DataFrame, explode: str) -> DataFrame:
    found = EXPLODE.fullmatch(explode)
    assert found is not None  # checked by the config  # noqa: S101
    # Outer: an event without items is a row all the same.
    return rows.select("*", F.posexplode_outer(F.expr(found["array"])).alias(_PLACE, found["name"]))


def _join(spark: SparkSession, where: str, raw: DataFrame, joins: Sequence[Join]) -> DataFrame:
    joined = raw.alias("source")
    for number, join in enumerate(joins):
        place = f"{where}.joins.{number}"
        other = united_by_name(load_by_name(spark, place, join))
        try:
            if join.columns:
                other = other.select(*join.columns).distinct()
            joined = joined.join(other.alias(join.name), F.expr(join.on), join.how)
        except (AnalysisException, ParseException) as error:
            raise SourceColumnsError(
                f"{place}: `on` or `columns` does not resolve on {join.path!r}: {_first_line(error)}; "
                f"the file's columns are: {', '.join(other.columns)}"
            ) from None
    return joined


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0]
