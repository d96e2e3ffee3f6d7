"""Files below a path through Hadoop's file systems, so that local folders and object stores answer alike."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pyspark.sql import Column, SparkSession
from pyspark.sql import functions as F

_SCHEME = re.compile(r"^[A-Za-z][A-Za-z0-9+.-]*://?")

_LOCAL = "^file:/+"


@dataclass(frozen=True)
class FileState:
    """One file: where, how long (bytes), when last changed (milliseconds since 1970)."""

    path: str
    length: int
    modified_ms: int
    uri: str = ""
    """The path percent-encoded, as `file_uri` gives it."""
    root: str = ""
    """What the path or glob matched: the file itself, or the folder that it lies in."""


@dataclass(frozen=True)
class FolderState:
    """A folder: bytes of all files below it, and when the newest of these changed (milliseconds since 1970)."""

    length: int
    modified_ms: int


def absolute_uri(path: str) -> str:
    """Return the path with a scheme; a plain path is taken from the driver's working directory.

    It is not percent-encoded: Hadoop takes `%20` for a name of three characters.
    """
    return path if _SCHEME.match(path) else f"file://{Path(path).absolute()}"


def file_uri() -> Column:
    """Return the column that says which file (`FileState.uri`) a row was read from."""
    return F.regexp_replace(F.col("_metadata.file_path"), _LOCAL, "file:/")


def as_file_uri(spark: SparkSession, path: str) -> str:
    """Return a plain (not percent-encoded) path as `file_uri` writes it."""
    return _uri(_jvm(spark).org.apache.hadoop.fs.Path(path))


def list_files(spark: SparkSession, path: str) -> list[FileState]:
    """Return all data files that `path` (file, folder or glob) names, sorted; empty where nothing is there."""
    jvm = _jvm(spark)
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
                place = state.getPath()
                found.append(
                    FileState(
                        place.toString(),
                        state.getLen(),
                        state.getModificationTime(),
                        _uri(place),
                        match.getPath().toString(),
                    )
                )
    return sorted(found, key=lambda state: state.path)


def every_file(spark: SparkSession, uri: str) -> list[tuple[str, int]]:
    """Return path and length of every file below a folder, those too that Spark's readers skip."""
    system, path = _at(spark, uri)
    if not system.exists(path):
        return []
    found, iterator = [], system.listFiles(path, True)
    while iterator.hasNext():
        state = iterator.next()
        found.append((state.getPath().toString(), int(state.getLen())))
    return sorted(found)


def list_folders(spark: SparkSession, uri: str) -> list[str]:
    """Return the names of the folders right below `uri`, sorted; empty where it is not there."""
    system, path = _at(spark, uri)
    if not system.exists(path):
        return []
    return sorted(state.getPath().getName() for state in system.listStatus(path) if state.isDirectory())


def list_names(spark: SparkSession, uri: str) -> list[str]:
    """Return the names of the files right below `uri`, sorted; empty where it is not there."""
    system, path = _at(spark, uri)
    if not system.exists(path):
        return []
    return sorted(state.getPath().getName() for state in system.listStatus(path) if state.isFile())


def is_there(spark: SparkSession, uri: str) -> bool:
    """Whether a file or folder is there."""
    system, path = _at(spark, uri)
    return bool(system.exists(path))


def folder_state(spark: SparkSession, uri: str) -> FolderState:
    """Return size and last change of a folder, of what unfinished writes have left there too."""
    system, path = _at(spark, uri)
    length, newest = 0, -1
    iterator = system.listFiles(path, True)
    while iterator.hasNext():
        state = iterator.next()
        length, newest = length + state.getLen(), max(newest, state.getModificationTime())
    # An object store knows no time of a folder, so the folder's own counts only where it is empty.
    return FolderState(length, newest if newest >= 0 else system.getFileStatus(path).getModificationTime())


def write_text(spark: SparkSession, uri: str, text: str) -> None:
    """Write a small file in place of any of that name; a reader never sees half of it. Raises OSError on failure."""
    system, path = _at(spark, uri)
    unfinished = _jvm(spark).org.apache.hadoop.fs.Path(f"{uri}.unfinished")
    stream = system.create(unfinished, True)
    try:
        stream.write(bytearray(text.encode()))
    finally:
        stream.close()
    system.delete(path, False)
    if not system.rename(unfinished, path):
        raise OSError(
            f"{uri}: could not be renamed from {uri}.unfinished; check the folder's permissions and run again"
        )


def read_text(spark: SparkSession, uri: str) -> str | None:
    """Return the text of a small file; None where it is not there."""
    system, path = _at(spark, uri)
    if not system.exists(path):
        return None
    stream = system.open(path)
    try:
        return str(_jvm(spark).org.apache.commons.io.IOUtils.toString(stream, "UTF-8"))
    finally:
        stream.close()


def first_line(spark: SparkSession, uri: str, comment: str = "") -> str:
    """Return the first line of a text file, unpacked where its name says it is packed, that is neither blank nor
    begins with `comment`; empty where there is none. Bytes stay bytes (Latin-1), so that any encoding can be compared.
    """
    jvm = _jvm(spark)
    system, path = _at(spark, uri)
    stream = system.open(path)
    try:
        codec = jvm.org.apache.hadoop.io.compress.CompressionCodecFactory(system.getConf()).getCodec(path)
        plain = codec.createInputStream(stream) if codec is not None else stream
        lines = jvm.java.io.BufferedReader(jvm.java.io.InputStreamReader(plain, "ISO-8859-1"))
        while (line := lines.readLine()) is not None:
            if line.strip() and not (comment and line.startswith(comment)):
                return str(line)
        return ""
    finally:
        stream.close()


def delete_folder(spark: SparkSession, uri: str) -> None:
    """Delete a folder and all below it, or a file; nothing where it is not there."""
    system, path = _at(spark, uri)
    system.delete(path, True)


def _at(spark: SparkSession, uri: str) -> tuple[Any, Any]:
    """Return the file system of a path, and the path as Hadoop has it."""
    path = _jvm(spark).org.apache.hadoop.fs.Path(uri)
    return path.getFileSystem(spark.sparkContext._jsc.hadoopConfiguration()), path


def _uri(hadoop_path: Any) -> str:
    # Java writes a local path with one slash or with three.
    return re.sub(_LOCAL, "file:/", hadoop_path.toUri().toString())


def _jvm(spark: SparkSession) -> Any:
    # PySpark offers no file listing; the gateway to Hadoop's own is the documented way around, stable since 1.x.
    jvm = spark.sparkContext._jvm
    assert jvm is not None  # a started session has one  # noqa: S101
    return jvm


def _is_hidden(part: str) -> bool:
    """Whether Spark's readers skip it too: logs, markers, and what an unfinished write leaves behind."""
    return part.startswith(".") or (part.startswith("_") and "=" not in part)
