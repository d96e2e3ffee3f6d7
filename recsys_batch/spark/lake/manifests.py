"""Dataset manifests: small JSON files below the lake, on whatever file system Spark knows."""

from datetime import date
from typing import Any

from pyspark.sql import SparkSession

from recsys_batch.contracts.datasets import DatasetManifest, ManifestNotFoundError, manifest_name
from recsys_batch.spark.lake.files import write_text
from recsys_batch.spark.lake.tables import Lake


def write_manifest(lake: Lake, manifest: DatasetManifest) -> str:
    """Write the manifest and return its URI; a reader never sees half of it."""
    target = lake.path(manifest_name(manifest.name, date.fromisoformat(manifest.ds)))
    write_text(lake.spark, target, manifest.to_json())
    return target


def remove_manifest(lake: Lake, split: str, ds: date) -> None:
    """Remove the manifest, where there is one: the tables are about to change."""
    target = lake.path(manifest_name(split, ds))
    _files(lake.spark, target).delete(_path(lake.spark, target), False)


def read_manifest(lake: Lake, split: str, ds: date) -> DatasetManifest:
    """Return the manifest of a finished dataset. Raises ManifestNotFoundError where there is none."""
    target = lake.path(manifest_name(split, ds))
    files = _files(lake.spark, target)
    if not files.exists(_path(lake.spark, target)):
        raise ManifestNotFoundError(f"{target}: no manifest, so the dataset is not finished; run jobs/make_datasets.py")
    # As one value: line breaks within the text are the text's.
    lines = lake.spark.read.text(target, wholetext=True).first()
    assert lines is not None  # a file is one row  # noqa: S101
    return DatasetManifest.from_json(lines.value)


def _path(spark: SparkSession, uri: str) -> Any:
    # PySpark has no file operations; the gateway to Hadoop's own is the documented way around.
    jvm: Any = spark._jvm
    return jvm.org.apache.hadoop.fs.Path(uri)


def _files(spark: SparkSession, uri: str) -> Any:
    session: Any = spark._jsparkSession
    return _path(spark, uri).getFileSystem(session.sessionState().newHadoopConf())
