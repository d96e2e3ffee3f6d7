"""The files of a source as frames whose columns go by name: files of one header or schema are read together.

Whole reads and reads of some files take the same way, so that both give the same rows.
"""

import re
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import Any, cast

from delta.tables import DeltaTable
from py4j.protocol import Py4JJavaError
from pyspark.errors import AnalysisException, ParseException, PySparkException
from pyspark.sql import DataFrame, DataFrameReader, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import LongType, StringType, StructField, StructType

from recsys_batch.contracts.config.night import Reader
from recsys_batch.contracts.errors import ConfigError, InputNotReadyError, SourceColumnsError, SourceNotFoundError
from recsys_batch.spark.lake.files import FileState, absolute_uri, as_file_uri, file_uri, first_line, list_files

# Names of listed files are no patterns; Spark takes brackets for one otherwise.
_AS_NAMED = {"__globPaths__": "false"}
_PATTERN = frozenset("[]{}*?\\")
# A filter of this many files is compiled; beyond, the caller's own join with the names chooses the rows.
_MAX_NAMED = 500
_THREADS = 8
_MAX_KNOWN = 100_000


def files_of(spark: SparkSession, source: Reader) -> list[FileState]:
    """Return the files that the source is made of: those that its path matches, and below a folder those that Spark
    reads there, which are in the folder itself or in partition folders (`name=value`) of it.
    """
    return _delta_files(spark, source) if source.format == "delta" else _own(source, list_files(spark, source.path))


def load_by_name(
    spark: SparkSession, where: str, source: Reader, files: Sequence[FileState] | None = None
) -> list[DataFrame]:
    """Load the files (all of the source where none are given), one frame for each header or schema among them.

    Empty files have no rows. Every frame is read by one reader, so that `_metadata` can be asked of it. `where` names
    the source in errors. Raises SourceNotFoundError without files, InputNotReadyError where all are empty or one breaks
    off, ConfigError for wrong options and for names that cannot be opened.
    """
    listed: Sequence[FileState] = []
    if files is None and source.format != "delta":
        listed = list_files(spark, source.path)
        files = _own(source, listed)
    elif files is None:
        files = files_of(spark, source)
    if not files:
        raise SourceNotFoundError(
            f"{where}.path: nothing at {source.path!r} (looked at {absolute_uri(source.path)}); "
            "check the path, or retry when the file has arrived"
        )
    if source.format == "delta":
        return [_load_delta(spark, source, files)]
    _refuse_colons(where, files)
    written = [file for file in files if file.length]
    if not written:
        raise InputNotReadyError(
            f"{where}.path: {files[0].path} has 0 bytes{_and_others(files)}; retry when it has been written"
        )
    try:
        groups = _groups(spark, source, written)
        if len(groups) == 1 and _fill_a_folder(groups[0], listed):
            return [_load(spark, source, groups[0], [groups[0][0].root])]
        return [_load(spark, source, group, [file.path for file in group]) for group in groups]
    except (AnalysisException, ParseException) as error:
        raise SourceColumnsError(
            f"{where}: {source.path!r} is not readable as {source.format}: {_first_line(error)}"
        ) from None
    except PySparkException as error:
        raise ConfigError(f"{where}.options: {_first_line(error)} (options: {source.options})") from None
    except Py4JJavaError as error:
        cause = error.java_exception
        # An option that cannot be read ends in whatever its parser raises.
        raise ConfigError(
            f"{where}: {source.path!r} cannot be opened as {source.format} with the options {source.options}: "
            f"{cause.getClass().getSimpleName()}: {cause.getMessage()}"
        ) from None


def _refuse_colons(where: str, files: Sequence[FileState]) -> None:
    """Hadoop takes what stands before a colon in the name of a local file for the scheme of a URI."""
    for file in files:
        if file.uri.startswith("file:") and ":" in file.path.rsplit("/", 1)[-1]:
            raise ConfigError(
                f"{where}.path: {file.path}: a local file whose name has a colon cannot be opened; rename it, or leave "
                "it out of `path`"
            )


def united_by_name(frames: Sequence[DataFrame]) -> DataFrame:
    """Unite frames by the names of their columns; what one of them lacks is null there."""
    united = frames[0]
    for frame in frames[1:]:
        united = united.unionByName(frame, allowMissingColumns=True)
    return united


def _own(source: Reader, listed: Sequence[FileState]) -> list[FileState]:
    deep = option_of(source, "recursiveFileLookup") == "true"
    return [file for file in listed if deep or all("=" in name for name in _folders(file))]


def option_of(source: Reader, name: str) -> str:
    """Return an option in lower case; their names are case-insensitive."""
    return next((value.lower() for key, value in source.options.items() if key.lower() == name.lower()), "")


def _folders(file: FileState) -> list[str]:
    return file.path.removeprefix(file.root).strip("/").split("/")[:-1]


def _reader(spark: SparkSession, source: Reader) -> DataFrameReader:
    # The reader's own default is the zone of the session when the rows are read, which may be another by then.
    reader = spark.read.format(source.format).options(**source.options)
    if source.format not in ("csv", "json") or option_of(source, "timeZone"):
        return reader
    return reader.option("timeZone", str(spark.conf.get("spark.sql.session.timeZone")))


def _groups(spark: SparkSession, source: Reader, files: Sequence[FileState]) -> list[list[FileState]]:
    """Group files that one reader can take: of one header or schema, and with partition folders below one root."""
    groups: dict[tuple[str, str, str], list[FileState]] = {}
    for file, key in zip(files, _shapes(spark, source, files), strict=True):
        root = file.root if _folders(file) else ""
        # Beside a name that looks like a pattern Spark would read the others twice.
        alone = file.path if _PATTERN & set(file.path) else ""
        groups.setdefault((root, key, alone), []).append(file)
    return list(groups.values())


def _shapes(spark: SparkSession, source: Reader, files: Sequence[FileState]) -> list[str]:
    """Return what tells files of different columns apart."""
    if len(files) == 1:
        return [""]
    if _has_header(source):
        comment = option_of(source, "comment")
        return _map_files(lambda file: _header(spark, file, comment), files)
    if source.format == "parquet":
        return _map_files(lambda file: _parquet_schema(spark, file), files)
    return [""] * len(files)


def _has_header(source: Reader) -> bool:
    return source.format == "csv" and option_of(source, "header") == "true"


def _map_files(function: Any, files: Sequence[FileState]) -> list[str]:
    with ThreadPoolExecutor(_THREADS) as pool:
        return list(pool.map(function, files))


# A night reads a source several times. A file of the same name, length and time of change is the same file, as for the
# input log.
@lru_cache(maxsize=_MAX_KNOWN)
def _header(spark: SparkSession, file: FileState, comment: str) -> str:
    return first_line(spark, file.path, comment)


@lru_cache(maxsize=_MAX_KNOWN)
def _parquet_schema(spark: SparkSession, file: FileState) -> str:
    jvm: Any = spark._jvm
    hadoop: Any = spark.sparkContext._jsc
    path = jvm.org.apache.hadoop.fs.Path(file.path)
    try:
        made = jvm.org.apache.parquet.hadoop.util.HadoopInputFile.fromPath(path, hadoop.hadoopConfiguration())
        reader = jvm.org.apache.parquet.hadoop.ParquetFileReader.open(made)
    except Py4JJavaError as error:
        raise InputNotReadyError(
            f"{file.path}: is no Parquet file: {error.java_exception.getMessage()}; it is broken or still being "
            "written: retry when it has arrived in full, or leave it out"
        ) from None
    try:
        return str(reader.getFileMetaData().getSchema().toString())
    finally:
        reader.close()


def _fill_a_folder(files: Sequence[FileState], listed: Sequence[FileState]) -> bool:
    """Whether the files are all that was listed, in one folder: Spark then finds them faster than by their names."""
    roots = {file.root for file in files}
    return len(roots) == 1 and roots != {files[0].path} and len(listed) == len(files)


def _load(spark: SparkSession, source: Reader, files: Sequence[FileState], paths: list[str]) -> DataFrame:
    reader = _reader(spark, source).options(**_AS_NAMED)
    if _folders(files[0]):
        # Partition columns are found below the folder that the path named.
        reader = reader.option("basePath", files[0].root)
    if not source.schema_ddl:
        loaded = reader.load(paths)
        if source.format != "parquet" or not (nanos := _in_nanos(_parquet_schema(spark, files[0]))):
            return loaded
        if any(field.name in nanos and field.dataType != LongType() for field in loaded.schema):
            # A file of Spark's that another program wrote anew in nanoseconds still says what Spark once wrote.
            as_written = [StructField(f.name, LongType()) if f.name in nanos else f for f in loaded.schema]
            loaded = reader.schema(StructType(as_written)).load(paths)
        return _in_micros(loaded, nanos)
    schema = cast(StructType, StructType.fromDDL(source.schema_ddl))
    if _has_header(source):
        # By name: with a schema of its own Spark takes the columns of a file by position.
        types = {field.name.lower(): field.dataType for field in schema.fields}
        header = reader.option("inferSchema", "false").load(paths).columns
        schema = StructType([StructField(name, types.get(name.lower(), StringType())) for name in header])
    return reader.schema(schema).load(paths)


def _in_nanos(schema: str) -> dict[str, bool]:
    """Return the columns of a Parquet schema that hold nanoseconds, and whether those are of UTC."""
    found = re.findall(r"int64 (\S+) \(TIMESTAMP\(NANOS,(true|false)\)\)", schema)
    return {name: adjusted == "true" for name, adjusted in found}


def _in_micros(loaded: DataFrame, nanos: Mapping[str, bool]) -> DataFrame:
    """Turn the times that pandas writes in nanoseconds, which Spark reads as numbers, into times."""
    times, zone = {}, str(loaded.sparkSession.conf.get("spark.sql.session.timeZone"))
    for name, is_utc in nanos.items():
        time = F.timestamp_micros(F.expr(f"`{name}` DIV 1000"))
        # One of no zone is read as Spark reads it in microseconds.
        times[name] = time if is_utc else F.to_utc_timestamp(time, F.lit(zone))
    return loaded.withColumns({name: time for name, time in times.items() if name in loaded.columns})


def _delta_files(spark: SparkSession, source: Reader) -> list[FileState]:
    """Return the files of the newest version; `root` is that version, which is then read whatever comes after it."""
    path = absolute_uri(source.path)
    (newest,) = DeltaTable.forPath(spark, path).history(1).select("version").collect()
    version = str(newest.version)
    # The folder holds files of older versions too; a data file never changes, so its name is its version.
    active = spark.read.format("delta").option("versionAsOf", version).load(path).inputFiles()
    return [FileState(uri, 0, 0, as_file_uri(spark, uri), version) for uri in sorted(active)]


def _load_delta(spark: SparkSession, source: Reader, files: Sequence[FileState]) -> DataFrame:
    version = files[0].root
    frame = _reader(spark, source).option("versionAsOf", version).load(absolute_uri(source.path))
    return frame.where(file_uri().isin([file.uri for file in files])) if len(files) <= _MAX_NAMED else frame


def _and_others(files: Sequence[FileState]) -> str:
    return f", and so have {len(files) - 1} other file(s)" if len(files) > 1 else ""


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0]
