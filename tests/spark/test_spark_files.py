import os
import re
from pathlib import Path

import pytest

from recsys_batch.spark.lake.files import absolute_uri, folder_state, list_files, list_folders


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("files")
    for name in ("a.csv", "b.csv", "c.json", ".a.csv.crc", "_SUCCESS", "sub/d.csv", "_delta_log/0.json"):
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_text("12345", encoding="utf-8")
    return root


def names(spark, root: Path, path: str) -> list[str]:
    return [str(Path(state.path.removeprefix("file:")).relative_to(root)) for state in list_files(spark, path)]


def test_folders_files_and_globs_are_listed_without_hidden_files(spark, folder):
    assert names(spark, folder, str(folder)) == ["a.csv", "b.csv", "c.json", "sub/d.csv"]
    assert names(spark, folder, f"{folder}/*.csv") == ["a.csv", "b.csv"]
    assert names(spark, folder, f"{folder}/[bc].*") == ["b.csv", "c.json"]
    assert names(spark, folder, f"{folder}/b.csv") == ["b.csv"]
    assert names(spark, folder, folder.as_uri()) == ["a.csv", "b.csv", "c.json", "sub/d.csv"]
    assert list_files(spark, f"{folder}/no-such-file.csv") == []
    assert list_files(spark, f"{folder}/no-such-folder/*.csv") == []


def test_files_of_an_unfinished_write_are_no_data(spark, tmp_path):
    for name in ("_temporary/0/part-0.csv", ".staging/part-1.csv"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text("u\n1\n", encoding="utf-8")
    assert list_files(spark, str(tmp_path)) == []


def test_length_and_time_of_change(spark, folder):
    state = list_files(spark, str(folder / "a.csv"))[0]
    assert state.length == 5
    assert state.modified_ms == (folder / "a.csv").stat().st_mtime_ns // 1_000_000


def test_a_plain_path_is_taken_from_the_working_directory(spark, folder, monkeypatch):
    monkeypatch.chdir(folder)
    assert names(spark, folder, "*.json") == ["c.json"]
    assert re.sub("^file:/+", "/", absolute_uri("a.csv")) == f"{folder}/a.csv"
    assert absolute_uri("s3a://bucket/*.csv") == "s3a://bucket/*.csv"
    assert absolute_uri("file:/x/y") == "file:/x/y"


def test_folders_are_listed_by_name_and_files_are_not(spark, folder):
    assert list_folders(spark, folder.as_uri()) == ["_delta_log", "sub"]
    assert list_folders(spark, (folder / "nothing").as_uri()) == []


def test_a_folder_is_as_young_as_its_newest_file_hidden_or_not(spark, tmp_path):
    work = tmp_path / "work"
    for seconds, name in ((300, "a.parquet"), (500, "_temporary/0/b.parquet"), (400, ".c")):
        (work / name).parent.mkdir(parents=True, exist_ok=True)
        (work / name).write_bytes(b"12345")
        os.utime(work / name, (seconds, seconds))
    state = folder_state(spark, work.as_uri())
    assert (state.length, state.modified_ms) == (15, 500_000)
    empty = tmp_path / "empty"
    empty.mkdir()
    os.utime(empty, (700, 700))
    assert folder_state(spark, empty.as_uri()).modified_ms == 700_000
