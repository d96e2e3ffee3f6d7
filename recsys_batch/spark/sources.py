"""Reads the declared sources of an input table into one typed frame; nothing is dropped here, only marked."""

import hashlib
from collections.abc import Sequence
from datetime import date

from pyspark.errors import AnalysisException, ParseException
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from recsys_batch.contracts.columns import Inputs
from recsys_batch.contracts.config import Source
from recsys_batch.contracts.errors import SourceColumnsError, SourceNotFoundError
from recsys_batch.spark.files import absolute_uri, list_files

# False on the rows that the source's own `where` leaves out; they are counted, not read further.
KEPT = "_kept"


def read_table(spark: SparkSession, table: str, sources: Sequence[Source], ds: date) -> DataFrame:
    """Return the union of the sources with the columns of `Inputs.TYPES[table]`, in that order, plus `KEPT`.

    Columns that a source does not give are null. Raises SourceNotFoundError for a path without files and
    SourceColumnsError for an expression that does not resolve.
    """
    frames = [_read_source(spark, table, number, at_date(source, ds)) for number, source in enumerate(sources)]
    united = frames[0]
    for frame in frames[1:]:
        united = united.unionByName(frame)
    return united


def at_date(source: Source, ds: date) -> Source:
    """Return the source with `{ds}` in its path and expressions replaced by the business date."""
    text = ds.isoformat()
    select = {column: expression.replace("{ds}", text) for column, expression in source.select.items()}
    update = {"path": source.path.replace("{ds}", text), "where": source.where.replace("{ds}", text), "select": select}
    return source.model_copy(update=update)


def version_of(spark: SparkSession, sources: Sequence[Source], ds: date) -> str:
    """Return a fingerprint of the files behind the sources: names, lengths and times of change."""
    digest = hashlib.sha256()
    for source in sources:
        for state in list_files(spark, at_date(source, ds).path):
            digest.update(f"{state.path}\t{state.length}\t{state.modified_ms}\n".encode())
    return digest.hexdigest()[:16]


def _read_source(spark: SparkSession, table: str, number: int, source: Source) -> DataFrame:
    where = f"sources.{table}.{number}"
    if not list_files(spark, source.path):
        raise SourceNotFoundError(
            f"{where}.path: nothing at {source.path!r} (looked at {absolute_uri(source.path)}); "
            "check the path, or retry when the file has arrived"
        )
    reader = spark.read.format(source.format).options(**source.options)
    try:
        if source.schema_ddl:
            reader = reader.schema(source.schema_ddl)
        raw = reader.load(absolute_uri(source.path))
    except (AnalysisException, ParseException) as error:
        raise SourceColumnsError(
            f"{where}: {source.path!r} is not readable as {source.format}: {_first_line(error)}"
        ) from None
    kept = F.expr(source.where) if source.where else F.lit(True)
    try:
        frame = raw.select(
            *(_typed(source, column, kind).alias(column) for column, kind in Inputs.TYPES[table].items()),
            F.coalesce(kept, F.lit(False)).alias(KEPT),
        )
    except (AnalysisException, ParseException) as error:
        columns = ", ".join(raw.columns)
        raise SourceColumnsError(
            f"{where}: an expression of `select` or `where` does not resolve on {source.path!r}: {_first_line(error)}; "
            f"the file's columns are: {columns}"
        ) from None
    return frame


def _typed(source: Source, column: str, kind: str) -> Column:
    expression = source.select.get(column)
    if expression is None:
        return F.lit(None).cast(kind)
    if kind.startswith(("map", "array")):
        return F.expr(expression).cast(kind)
    return F.expr(f"TRY_CAST(({expression}) AS {kind})")


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0]
