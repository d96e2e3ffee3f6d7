"""The lake: Delta tables by name below one root, written so that doing it twice equals doing it once."""

import time
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import date

from delta.tables import DeltaTable
from py4j.protocol import Py4JJavaError
from pyspark.errors import PySparkException
from pyspark.sql import DataFrame, DataFrameWriter, SparkSession
from pyspark.sql.types import StructType

from recsys_batch.spark.lake.files import absolute_uri
from recsys_batch.spark.session import make_frame

_ATTEMPTS = 8
# Only counts rows: bounds of columns take a plan that compiles longer than a small table takes to write. A property of
# the table, from its first write on; a setting of the session would reach what other threads write meanwhile.
_NO_BOUNDS = {"delta.dataSkippingNumIndexedCols": "0"}

STATS_COLUMNS = "delta.dataSkippingStatsColumns"


def sql_text(text: str) -> str:
    """Return the text as a SQL literal."""
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def retry_conflicts(commit: Callable[[], object]) -> None:
    """Run `commit` again where another run's commit came in between; other errors, and the last such, are raised."""
    for attempt in range(_ATTEMPTS):
        try:
            commit()
        except (PySparkException, Py4JJavaError) as error:
            if attempt + 1 == _ATTEMPTS or not is_conflict(error):
                raise
        else:
            return
        time.sleep(0.2 * 2**attempt)


def is_conflict(error: Exception) -> bool:
    """Whether Delta refused a commit because another one changed what it had read."""
    # Two runs that make one table, or add one column, at the same time conflict by its metadata.
    signs = ("Concurrent", "DELTA_CONCURRENT", "DELTA_METADATA_CHANGED", "DELTA_PROTOCOL_CHANGED")
    return any(sign in str(error) for sign in signs)


@dataclass(frozen=True)
class Lake:
    """The tables below `root`, a folder or URI that every node sees."""

    spark: SparkSession
    root: str

    @classmethod
    def at(cls, spark: SparkSession, root: str) -> "Lake":
        """Open the lake at `root`, relative to the driver's working directory where it has no scheme."""
        return cls(spark, absolute_uri(root).rstrip("/"))

    def path(self, name: str) -> str:
        """Return the URI of a table or folder."""
        return f"{self.root}/{name}"

    def exists(self, name: str) -> bool:
        """Whether the table has a Delta log."""
        return DeltaTable.isDeltaTable(self.spark, self.path(name))

    def read(self, name: str, version: int | None = None) -> DataFrame:
        """Return the table's rows, as of `version` where one is given."""
        reader = self.spark.read.format("delta")
        if version is not None:
            reader = reader.option("versionAsOf", version)
        return reader.load(self.path(name))

    def read_ds(self, name: str, ds: date, version: int | None = None) -> DataFrame:
        """Return the rows of one business date, as of `version` where one is given."""
        return self.read(name, version).where(f"ds = DATE'{ds.isoformat()}'")

    def ensure(self, name: str, ddl: str, partition_by: tuple[str, ...] = ()) -> None:
        """Create the empty table where it does not exist; add columns that it lacks, as an older version made it."""
        empty = make_frame(self.spark, [], ddl)
        if not self.exists(name):
            self._make(name, empty.write.partitionBy(*partition_by))
        elif set(empty.columns) - set(self.read(name).columns):
            empty.write.format("delta").mode("append").option("mergeSchema", "true").save(self.path(name))

    def create_documented(
        self,
        name: str,
        schema: StructType,
        comment: str,
        comments: Mapping[str, str],
        partition_by: tuple[str, ...],
        nullable: Collection[str] = (),
        bounded: Collection[str] = (),
    ) -> None:
        """Create the empty table of columns of which only those of `nullable` are ever null, with what a data catalog
        shows of it, where it is not there yet.

        Of the columns `bounded`, where any are given, Delta's log keeps bounds by file, and of no others.
        """
        if self.exists(name):
            return
        columns = ", ".join(
            f"`{field.name}` {field.dataType.simpleString()}{'' if field.name in nullable else ' NOT NULL'} "
            f"COMMENT {sql_text(comments[field.name])}"
            for field in schema.fields
        )
        path, partitions = self.path(name).replace("`", "``"), ", ".join(partition_by)
        create = (
            f"CREATE TABLE IF NOT EXISTS delta.`{path}` ({columns}) USING delta PARTITIONED BY ({partitions}) "
            f"COMMENT {sql_text(comment)}"
            + (f" TBLPROPERTIES ('{STATS_COLUMNS}' = {sql_text(','.join(bounded))})" if bounded else "")
        )
        retry_conflicts(lambda: self.spark.sql(create))

    def create(self, name: str, frame: DataFrame, partition_by: tuple[str, ...] = ()) -> bool:
        """Create the table with its first rows; return False, and write nothing, where there is one, if only by now."""
        return not self.exists(name) and self._make(name, frame.write.partitionBy(*partition_by).options(**_NO_BOUNDS))

    def _make(self, name: str, writer: DataFrameWriter) -> bool:
        """Make a table that was not there a moment ago; return whether this run was the one that made it."""
        try:
            writer.format("delta").mode("error").save(self.path(name))
        except (PySparkException, Py4JJavaError):
            # Another run made it in between; anything else is an error.
            if not self.exists(name):
                raise
            return False
        return True

    def replace_slice(
        self, name: str, frame: DataFrame, predicate: str, partition_by: tuple[str, ...], txn: str = ""
    ) -> None:
        """Replace the rows that `predicate` selects with `frame` in one commit; other rows stay.

        With `txn` a second call of that name changes nothing, which makes a rolled-forward publication harmless; such
        tables are read by others, so their files get bounds of columns. Where maintenance merged files of the slice in
        between, the rows are written again.
        """
        writer = frame.write.format("delta").mode("overwrite").option("replaceWhere", predicate)
        writer = writer.option("mergeSchema", "true")
        # A table that an older version made keeps its own partitions.
        if not self.exists(name):
            writer = writer.partitionBy(*partition_by)
        if txn:
            writer = writer.option("txnAppId", txn).option("txnVersion", 1).option("userMetadata", txn)
        else:
            writer = writer.options(**_NO_BOUNDS)
        retry_conflicts(lambda: writer.save(self.path(name)))

    def replace_ds(self, name: str, frame: DataFrame, ds: date, txn: str = "") -> None:
        """Replace one business date; `frame` must have the column ds."""
        self.replace_slice(name, frame, f"ds = DATE'{ds.isoformat()}'", ("ds",), txn)

    def append(self, name: str, frame: DataFrame, partition_by: tuple[str, ...] = ()) -> None:
        """Append rows, making the table, or columns that it lacks, where need be."""
        writer = frame.write.format("delta").mode("append").option("mergeSchema", "true").partitionBy(*partition_by)
        retry_conflicts(lambda: writer.options(**_NO_BOUNDS).save(self.path(name)))

    def append_once(self, name: str, frame: DataFrame, txn: str, partition_by: tuple[str, ...] = ()) -> None:
        """Append rows as `append` does; a second call with the same `txn` appends nothing."""
        writer = frame.write.format("delta").mode("append").option("mergeSchema", "true").partitionBy(*partition_by)
        writer = writer.option("txnAppId", txn).option("txnVersion", 1).option("userMetadata", txn)
        # Delta lets an append pass beside any commit but one that changed what the rows were read from.
        retry_conflicts(lambda: writer.options(**_NO_BOUNDS).save(self.path(name)))

    def register(self, names: Iterable[str], schema: str) -> None:
        """Name the tables in the catalog as `schema.table`, at their place in the lake; those registered stay so."""
        self.spark.sql(f"CREATE SCHEMA IF NOT EXISTS {schema}")
        for name in names:
            location = self.path(name).replace("'", "\\'")
            self.spark.sql(f"CREATE TABLE IF NOT EXISTS {schema}.{name} USING DELTA LOCATION '{location}'")

    def latest_version(self, name: str) -> int:
        """Return the version of the table's newest commit."""
        (newest,) = DeltaTable.forPath(self.spark, self.path(name)).history(1).select("version").collect()
        return int(newest.version)

    def version_written_by(self, name: str, txn: str) -> int:
        """Return the version of the commit that carries `txn`, else the latest version."""
        history = DeltaTable.forPath(self.spark, self.path(name)).history()
        rows = history.select("version", "userMetadata").collect()
        return int(max((row.version for row in rows if row.userMetadata == txn), default=max(r.version for r in rows)))
