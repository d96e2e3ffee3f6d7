"""Opens a folder by its URI with Arrow's file systems, for the processes that have no JVM."""

import re

import pyarrow as pa
import pyarrow.dataset as pads
import pyarrow.fs as pafs

_SCHEME = re.compile(r"^([A-Za-z][A-Za-z0-9+.-]*):/")
# Hadoop's names of file systems that Arrow has under another one.
_ARROW_SCHEME = {"s3a": "s3", "s3n": "s3"}
_KNOWN_TO_ARROW = ("s3", "gs", "gcs", "hdfs", "viewfs", "abfs", "abfss")


def open_folder(uri: str) -> tuple[pafs.FileSystem, str]:
    """Return the file system and the path below it; a local path is taken as it is, blanks and percent signs too.

    Hadoop's `s3a:` and `s3n:` are S3. Raises ValueError for a scheme that Arrow does not know.
    """
    uri = arrow_uri(uri)
    if uri.startswith("file:/"):
        return pafs.LocalFileSystem(), re.sub("^file:/+", "/", uri)
    if not _SCHEME.match(uri):
        return pafs.LocalFileSystem(), uri
    system, path = pafs.FileSystem.from_uri(uri)
    return system, path


def read_parquet(uri: str) -> pa.Table:
    """Return all rows of the Parquet files in a folder, in the order of the files."""
    system, path = open_folder(uri)
    return pads.dataset(path, filesystem=system, format="parquet").to_table()


def arrow_uri(uri: str) -> str:
    """Return the URI under the scheme that Arrow knows; a path without a scheme stays.

    Raises ValueError where both Spark and the workers could not use the folder.
    """
    found = _SCHEME.match(uri)
    if found is None or found[1].lower() == "file":
        return uri
    scheme = _ARROW_SCHEME.get(found[1].lower(), found[1].lower())
    if scheme not in _KNOWN_TO_ARROW:
        known = ", ".join(("file", *_ARROW_SCHEME, *_KNOWN_TO_ARROW))
        raise ValueError(
            f"{uri!r}: the workers cannot read {found[1]}:, only {known}; mount the store as a folder that every node "
            "sees, or name it by one of these"
        )
    return scheme + uri[len(found[1]) :]
