"""Folders of workers: what Hadoop calls a store, and what Arrow calls it."""

from pathlib import Path

import pyarrow.fs as pafs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys_batch.contracts.config.load import load_config
from recsys_batch.contracts.errors import ConfigError
from recsys_batch.contracts.filesystem import arrow_uri, open_folder

ROOT = Path(__file__).parent.parent.parent


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("s3a://bucket/lake", "s3://bucket/lake"),
        ("S3N://bucket/lake", "s3://bucket/lake"),
        ("viewfs://cluster/lake", "viewfs://cluster/lake"),
        ("s3://bucket/s3a://odd", "s3://bucket/s3a://odd"),
        ("abfss://lake@account.dfs.core.windows.net/x", "abfss://lake@account.dfs.core.windows.net/x"),
        ("lake/demo", "lake/demo"),
        ("/a b/100%", "/a b/100%"),
        ("file:///a b/100%", "file:///a b/100%"),
    ],
)
def test_a_folder_keeps_its_place_under_the_name_that_arrow_knows(uri: str, expected: str) -> None:
    assert arrow_uri(uri) == expected


@pytest.mark.parametrize("uri", ["/a b/100%", "file:///a b/100%", "file:/a b/100%"])
def test_a_local_path_is_taken_as_it_is(uri: str) -> None:
    system, path = open_folder(uri)
    assert isinstance(system, pafs.LocalFileSystem)
    assert path == "/a b/100%"


def test_s3_by_hadoop_s_name_is_s3() -> None:
    system, path = open_folder("s3a://bucket/lake?region=eu-central-1")
    assert system.type_name == "s3"
    assert path == "bucket/lake"


@given(st.from_regex(r"/[a-z %#+0-9]{1,20}", fullmatch=True))
def test_any_path_without_a_scheme_stays(path: str) -> None:
    assert open_folder(path)[1] == path


@pytest.mark.parametrize("root", ["dbfs:/lake", "wasbs://c@a.blob.core.windows.net/lake", "oss://bucket/lake"])
def test_a_store_that_workers_cannot_read_is_refused_with_the_config(root: str) -> None:
    with pytest.raises(ConfigError, match=r"lake\.root.*the workers cannot read") as caught:
        load_config(ROOT / "conf/demo.yaml", [f"lake.root={root}"], {})
    assert caught.value.exit_code == 2
