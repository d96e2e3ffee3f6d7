"""Files below a path through Hadoop's file systems, so that local folders and object stores answer alike."""

import re
from dataclasses import dataclass
from pathlib import Path

from pyspark.sql import SparkSession

_SCHEME = re.compile(r"^[A-Za-z][A-Za-z0-9+.-]*://?")


@dataclass(frozen=True)
class FileState:
    """One file: where, how long (bytes), when last changed (milliseconds since 1970)."""

    path: str
    length: int
    modified_ms: int


def absolute_uri(path: str) -> str:
    """Return the path with a scheme; a plain path is taken from the driver's working directory.

    It is not percent-encoded: Hadoop takes `%20` for a name of three characters.
    """
    return path if _SCHEME.match(path) else f"file://{Path(path).absolute()}"


def list_files(spark: SparkSession, path: str) -> list[FileState]:
    """Return all data files that `path` (file, folder or glob) names, sorted; empty where nothing is there."""
    # PySpark offers no file listing; the gateway to Hadoop's own is the documented way around, stable since 1.x.
    jvm = spark.sparkContext._jvm
    assert jvm is not None  # a started session has one  # noqa: S101
    hadoop_path = jvm.org.apache.hadoop.fs.Path(path if _SCHEME.match(path) else str(Path(path).absolute()))
    system = hadoop_path.getFileSystem(spark.sparkContext._jsc.hadoopConfiguration())
    matches = system.globStatus(hadoop_path) or []
    found: list[FileState] = []
    for match in matches:
        iterator = system.listFiles(match.getPath(), True)
        while iterator.hasNext():
            state = iterator.next()
            below = state.getPath().toString().removeprefix(match.getPath().toString())
            if not any(_is_hidden(part) for part in (below or state.getPath().getName()).split("/")):
                found.append(FileState(state.getPath().toString(), state.getLen(), state.getModificationTime()))
    return sorted(found, key=lambda state: state.path)


def _is_hidden(part: str) -> bool:
    """Whether Spark's readers skip it too: logs, markers, and what an unfinished write leaves behind."""
    return part.startswith(".") or (part.startswith("_") and "=" not in part)
