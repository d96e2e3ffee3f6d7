"""Reads the declared sources of an input table into one typed frame; nothing is dropped here, only marked."""

import hashlib
from collections.abc import Sequence
from datetime import date

from pyspark.errors import AnalysisException, ParseException
from pyspark.sql import Column, DataFrame, DataFrameReader, SparkSession
from pyspark.sql import functions as F

from recsys_batch.contracts.columns import Inputs
from recsys_batch.contracts.config import Join, Reader, Source
from recsys_batch.contracts.errors import SourceColumnsError, SourceNotFoundError
from recsys_batch.spark.lake.files import FileState, absolute_uri, file_uri, list_files

# False on the rows that the source's own `where` leaves out; they are counted, not read further.
KEPT = "_kept"
# The file that a row comes from, as `FileState.uri` writes it.
FILE = "_file"


def read_table(spark: SparkSession, table: str, sources: Sequence[Source], ds: date) -> DataFrame:
    """Return the union of the sources with the columns of `Inputs.TYPES[table]`, in that order, plus `KEPT`.

    Columns that a source does not give are null. Raises SourceNotFoundError for a path without files and
    SourceColumnsError for an expression that does not resolve.
    """
    frames = [read_source(spark, table, number, at_date(source, ds)) for number, source in enumerate(sources)]
    united = frames[0]
    for frame in frames[1:]:
        united = united.unionByName(frame)
    return united


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
    where = f"sources.{table}.{number}"
    raw = _load_or_explain(spark, where, source, files)
    if source.joins:
        raw = _join(spark, where, raw, source.joins)
    kept = F.expr(source.where) if source.where else F.lit(True)
    file_name = [] if files is None else [file_uri().alias(FILE)]
    try:
        frame = raw.select(
            *(_typed(source, column, kind).alias(column) for column, kind in Inputs.TYPES[table].items()),
            F.coalesce(kept, F.lit(False)).alias(KEPT),
            *file_name,
        )
    except (AnalysisException, ParseException) as error:
        columns = ", ".join(raw.columns)
        raise SourceColumnsError(
            f"{where}: an expression of `select` or `where` does not resolve on {source.path!r}: {_first_line(error)}; "
            f"the file's columns are: {columns}"
        ) from None
    return frame


def _join(spark: SparkSession, where: str, raw: DataFrame, joins: Sequence[Join]) -> DataFrame:
    joined = raw.alias("source")
    for number, join in enumerate(joins):
        place = f"{where}.joins.{number}"
        other = _load_or_explain(spark, place, join, None)
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


def _load_or_explain(spark: SparkSession, where: str, source: Reader, files: Sequence[FileState] | None) -> DataFrame:
    if not list_files(spark, source.path):
        raise SourceNotFoundError(
            f"{where}.path: nothing at {source.path!r} (looked at {absolute_uri(source.path)}); "
            "check the path, or retry when the file has arrived"
        )
    try:
        return _load(spark, source, files)
    except (AnalysisException, ParseException) as error:
        raise SourceColumnsError(
            f"{where}: {source.path!r} is not readable as {source.format}: {_first_line(error)}"
        ) from None


def _load(spark: SparkSession, source: Reader, files: Sequence[FileState] | None) -> DataFrame:
    def reader() -> DataFrameReader:
        made = spark.read.format(source.format).options(**source.options)
        return made.schema(source.schema_ddl) if source.schema_ddl else made

    if files is None:
        return reader().load(absolute_uri(source.path))
    if source.format == "delta":
        return reader().load(absolute_uri(source.path)).where(file_uri().isin([f.uri for f in files]))
    parts = []
    for root in sorted({file.root for file in files}):
        paths = [file.path for file in files if file.root == root]
        # Partition columns are found below the folder that the path named, as where the whole folder is read.
        parts.append((reader() if paths == [root] else reader().option("basePath", root)).load(paths))
    loaded = parts[0]
    for part in parts[1:]:
        loaded = loaded.unionByName(part)
    return loaded


def _typed(source: Source, column: str, kind: str) -> Column:
    expression = source.select.get(column)
    if expression is None:
        return F.lit(None).cast(kind)
    if kind.startswith(("map", "array")):
        return F.expr(expression).cast(kind)
    return F.expr(f"TRY_CAST(({expression}) AS {kind})")


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0]
