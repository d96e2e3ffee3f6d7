"""The shop's folder on whatever file system Spark knows: local, HDFS or an object store."""

from collections.abc import Iterable
from typing import Any

from pyspark.sql import SparkSession


class ShopFolder:
    """A few operations of Hadoop's FileSystem."""

    def __init__(self, spark: SparkSession, path: str) -> None:
        self._jvm: Any = spark._jvm
        self._path = path
        configuration = spark._jsparkSession.sessionState().newHadoopConf()
        self._files: Any = self._at("").getFileSystem(configuration)

    def _at(self, name: str) -> Any:
        return self._jvm.org.apache.hadoop.fs.Path(f"{self._path}/{name}" if name else self._path)

    def is_empty(self) -> bool:
        """Tell whether there is nothing at the path."""
        return not self._files.exists(self._at("")) or len(self._files.listStatus(self._at(""))) == 0

    def delete(self, names: Iterable[str]) -> None:
        """Delete these sub-folders where they exist."""
        for name in names:
            self._files.delete(self._at(name), True)

    def write_text(self, name: str, text: str) -> None:
        """Write a small file."""
        stream = self._files.create(self._at(name), True)
        try:
            stream.write(bytearray(text.encode()))
        finally:
            stream.close()
