"""The item index, written in shuffled files as Spark would, and read as arrays in the order of item_id."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from recsys_batch.workers.item_index import RowFinder, read_item_index


@pytest.mark.parametrize("num_files", [1, 4])
def test_arrays_come_in_the_order_of_item_id(build: Any, tmp_path: Path, num_files: int) -> None:
    shop = build.draw_shop(seed=3)
    indices = [int(i) for i in np.random.default_rng(3).permutation(3 * shop.num_items)[: shop.num_items]]
    # 999 is no item: it left the catalog.
    strays = {(indices[0], 999): 1.0, (999, indices[1]): 1.0, (999, 999): 1.0}
    folder = build.write_shop(tmp_path / "index", shop, num_files=num_files, indices=indices, strays=strays)
    index = read_item_index(folder)
    assert index.num_items == shop.num_items
    assert index.item_ids.to_pylist() == [shop.item_id(item) for item in range(shop.num_items)]
    assert index.item_indices_I.tolist() == indices
    assert index.titles.to_pylist() == [shop.title(item) for item in range(shop.num_items)]
    assert_array_equal(index.vectors_ID, shop.vectors_ID)
    assert index.vectors_ID.dtype == np.float32
    assert index.eligible_I.tolist() == shop.eligible
    assert index.popularity_I.tolist() == shop.popularity
    dense = np.zeros((shop.num_items, shop.num_items))
    for pair, weight in shop.pairs.items():
        dense[pair] = weight
    assert_array_equal(index.neighbors_II.toarray(), dense)


def test_categories_are_codes_and_items_without_one_share_none(build: Any, tmp_path: Path) -> None:
    shop = build.make_shop(np.eye(5), categories=["A", None, "B", "A", None])
    codes = read_item_index(build.write_shop(tmp_path / "index", shop)).category_codes_I
    assert codes[0] == codes[3] >= 0
    assert codes[2] not in (codes[0], -1)
    assert codes[[1, 4]].tolist() == [-1, -1]


def test_a_shop_without_categories_and_pairs_is_fine(build: Any, tmp_path: Path) -> None:
    index = read_item_index(build.write_shop(tmp_path / "index", build.make_shop(np.eye(3)), num_files=1))
    assert index.category_codes_I.tolist() == [-1, -1, -1]
    assert index.neighbors_II.nnz == 0
    assert index.neighbors_II.shape == (3, 3)


def test_a_folder_is_read_once_a_process_by_path_or_uri(build: Any, tmp_path: Path) -> None:
    folder = build.write_shop(tmp_path / "索引 1", build.make_shop(np.eye(2)))
    assert read_item_index(folder) is read_item_index(folder)
    assert read_item_index(f"file://{folder}").item_ids.to_pylist() == ["item-000", "item-001"]


@settings(derandomize=True, max_examples=50, deadline=None)
@given(
    st.lists(st.integers(0, 2**31 - 1), min_size=1, max_size=8, unique=True),
    st.lists(st.integers(-1, 2**31 - 1), max_size=8),
    st.lists(st.integers(0, 7), max_size=8),
)
def test_an_item_is_found_by_its_stable_index(indices: list[int], others: list[int], places: list[int]) -> None:
    wanted = others + [indices[place % len(indices)] for place in places]
    found = RowFinder.over(np.array(indices, dtype=np.int64)).find(np.array(wanted, dtype=np.int64))
    assert found.tolist() == [indices.index(i) if i in indices else -1 for i in wanted]


@pytest.mark.parametrize(
    ("column", "wrong", "fact"),
    [
        ("item_index", [0, 7, 7], "item_index 7 stands in 2 rows"),
        ("item_id", ["a", "b", "a"], "item_id 'a' stands in 2 rows"),
        ("item_index", [0, None, 2], r"1 item\(s\) without a item_index"),
        ("item_id", ["a", None, None], r"2 item\(s\) without a item_id"),
    ],
)
def test_an_index_with_repeats_or_blanks_is_refused(
    build: Any, tmp_path: Path, column: str, wrong: list[Any], fact: str
) -> None:
    folder = Path(build.write_shop(tmp_path / "index", build.make_shop(np.eye(3)), num_files=1))
    (part,) = (folder / "items").glob("*.parquet")
    items = pq.read_table(part)
    place = items.schema.get_field_index(column)
    pq.write_table(items.set_column(place, column, pa.array(wrong, items.schema.field(column).type)), part)
    with pytest.raises(ValueError, match=f"{folder}/items: {fact}"):
        read_item_index(str(folder))


def test_an_item_without_a_vector_is_refused_and_never_shifts_the_others(build: Any, tmp_path: Path) -> None:
    # Three items of width 3, one vector null: the six numbers left would also make three rows of two.
    folder = Path(build.write_shop(tmp_path / "index", build.make_shop(np.eye(3)), num_files=1))
    (part,) = (folder / "items").glob("*.parquet")
    items = pq.read_table(part).sort_by("item_index")
    vectors = pa.array([[1.0, 0.0, 0.0], None, [0.0, 0.0, 1.0]], pa.list_(pa.float32()))
    place = items.schema.get_field_index("vector")
    pq.write_table(items.set_column(place, "vector", vectors), part)
    with pytest.raises(ValueError, match="vector"):
        read_item_index(str(folder))
