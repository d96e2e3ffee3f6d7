"""Dataset manifests: small JSON files below the lake, on whatever file system Spark knows."""

from datetime import date

from recsys_batch.contracts.datasets import DatasetManifest, ManifestNotFoundError, manifest_name
from recsys_batch.spark.lake.files import delete_folder, read_text, write_text
from recsys_batch.spark.lake.tables import Lake


def write_manifest(lake: Lake, manifest: DatasetManifest) -> str:
    """Write the manifest and return its URI; a reader never sees half of it."""
    target = lake.path(manifest_name(manifest.name, date.fromisoformat(manifest.ds)))
    write_text(lake.spark, target, manifest.to_json())
    return target


def remove_manifest(lake: Lake, split: str, ds: date) -> None:
    """Remove the manifest, where there is one: the tables are about to change."""
    delete_folder(lake.spark, lake.path(manifest_name(split, ds)))


def read_manifest(lake: Lake, split: str, ds: date) -> DatasetManifest:
    """Return the manifest of a finished dataset. Raises ManifestNotFoundError where there is none."""
    target = lake.path(manifest_name(split, ds))
    text = read_text(lake.spark, target)
    if text is None:
        raise ManifestNotFoundError(f"{target}: no manifest, so the dataset is not finished; run jobs/make_datasets.py")
    return DatasetManifest.from_json(text)
