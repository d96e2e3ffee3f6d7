"""Opens a folder by its URI with Arrow's file systems, for the processes that have no JVM."""

import pyarrow.fs as pafs

_LOCAL = "file://"


def open_folder(uri: str) -> tuple[pafs.FileSystem, str]:
    """Return the file system and the path below it; a local path is taken as it is, blanks and percent signs too."""
    if uri.startswith(_LOCAL):
        return pafs.LocalFileSystem(), uri.removeprefix(_LOCAL)
    system, path = pafs.FileSystem.from_uri(uri)
    return system, path
