"""The scan for ids, on files made to hold them in every place that the lake has."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recsys_batch.workers import find_ids
from recsys_batch.workers.find_ids import FindIds

USER, NUMBER = "U0000012", "17850"


def scan(folder: Path, *ids: str, only: frozenset[str] = frozenset()) -> dict[str, list[int]]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    batch = pa.record_batch([[str(f) for f in files], [f.stat().st_size for f in files]], names=["path", "length"])
    task = FindIds(tuple((each,) for each in ids), only)
    (out,) = task(iter([batch]))
    assert out.schema == task.output_schema
    return {Path(row["path"]).name: row["found"] for row in out.to_pylist() if row["found"]}


def parquet(folder: Path, name: str, column: str, values: pa.Array, **options: object) -> None:
    others = pa.array([f"x{n}" for n in range(len(values))])
    pq.write_table(pa.table({"a": others, column: values}), folder / name, **options)


def test_an_id_is_found_in_every_kind_of_column_however_it_is_packed(tmp_path: Path) -> None:
    texts = ["aaaa", USER, "zzzz"]
    parquet(tmp_path, "plain.parquet", "user_id", pa.array(texts), compression="zstd", write_statistics=False)
    parquet(
        tmp_path, "delta.parquet", "user_id", pa.array(texts), use_dictionary=False, column_encoding="DELTA_BYTE_ARRAY"
    )
    parquet(tmp_path, "list.parquet", "l", pa.array([["a", USER], None, []]), write_statistics=False)
    parquet(tmp_path, "struct.parquet", "s", pa.array([{"x": {"y": USER}}, None, {"x": None}]), write_statistics=False)
    pairs = pa.array([[(USER, "v")], [("k", "v")], None], pa.map_(pa.string(), pa.string()))
    parquet(tmp_path, "key.parquet", "m", pairs, write_statistics=False)
    pairs = pa.array([[("k", f"of {USER}.")], [("k", "v")], None], pa.map_(pa.string(), pa.string()))
    parquet(tmp_path, "value.parquet", "m", pairs, write_statistics=False)
    parquet(tmp_path, "bytes.parquet", "b", pa.array([USER.encode(), None, b"\xff"]), write_statistics=False)
    # Not these: a part of another id, and no text at all.
    parquet(tmp_path, "other.parquet", "user_id", pa.array([f"{USER}3", f"B{USER}", "u"]))
    parquet(tmp_path, "number.parquet", "n", pa.array([12, 17850, 3]))
    found = scan(tmp_path, "nobody", USER, NUMBER)
    assert found == {f"{name}.parquet": [1] for name in ("plain", "delta", "list", "struct", "key", "value", "bytes")}


def test_bounds_and_a_file_that_is_no_parquet_whatever_its_name(tmp_path: Path) -> None:
    parquet(tmp_path, "part.parquet", "user_id", pa.array(["a", USER]))
    (tmp_path / "torn.parquet").write_bytes(b"no parquet, " + USER.encode())
    (tmp_path / "empty.parquet").write_bytes(b"")
    assert scan(tmp_path, USER) == {"part.parquet": [0], "torn.parquet": [0]}
    file = pq.ParquetFile(tmp_path / "part.parquet")
    bounds = [text for each in FindIds(((USER,),))._bounds(file) for text in each.to_pylist()]
    assert bounds == ["x0", "x1", USER, "a"]


def test_of_a_log_the_bounds_count_and_a_bare_number_does_not(tmp_path: Path) -> None:
    stats = json.dumps({"numRecords": 17850, "minValues": {"user_id": NUMBER}})
    clean = json.dumps({"numRecords": 17850, "minValues": {"rank": 17850, "score": 0.17850}})
    (tmp_path / "00.json").write_text(json.dumps({"add": {"size": 17850, "stats": stats}}, separators=(",", ":")))
    (tmp_path / "01.json").write_text(json.dumps({"add": {"size": 17850, "stats": clean}}))
    (tmp_path / "02.json").write_text(json.dumps({"size": 17850}, separators=(",", ":")))
    assert scan(tmp_path, NUMBER, USER) == {"00.json": [0]}


@pytest.mark.parametrize("size", [1, 3, 7, 1000])
def test_where_a_chunk_ends_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    monkeypatch.setattr(find_ids, "_CHUNK_BYTES", size)
    for at in range(12):
        (tmp_path / f"{at:02}.html").write_text("." * at + USER + "." * 40)
    (tmp_path / "other.html").write_text(f"{USER}3" + "." * 40)
    found = scan(tmp_path, USER)
    assert found == {f"{at:02}.html": [0] for at in range(12)}


def test_the_id_of_an_item_counts_where_a_user_stands(tmp_path: Path) -> None:
    only = frozenset({"user_id", "key"})
    parquet(tmp_path, "items.parquet", "item_id", pa.array([NUMBER, "b"]))
    parquet(tmp_path, "users.parquet", "user_id", pa.array([NUMBER, "b"]))
    parquet(tmp_path, "nested.parquet", "key", pa.array([{"id": NUMBER}, None]))
    (tmp_path / "0.json").write_text('{"stats":"{\\"minValues\\":{\\"item_id\\":\\"17850\\"}}"}')
    (tmp_path / "1.json").write_text('{"stats":"{\\"minValues\\":{\\"user_id\\":\\"17850\\"}}"}')
    assert scan(tmp_path, NUMBER, only=only) == {"users.parquet": [0], "nested.parquet": [0], "1.json": [0]}
    assert len(scan(tmp_path, NUMBER)) == 5
