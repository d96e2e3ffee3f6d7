"""What the index holds for a ranker: facts of items, item-item models and other users, by row of the item index."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import scipy.sparse as sp

from recsys_batch.contracts.columns import COVISITATION
from recsys_batch.contracts.evidence import EVIDENCE, ITEM_MODELS
from recsys_batch.contracts.filesystem import read_parquet
from recsys_batch.rules.sparse_rows import owners_of
from recsys_batch.workers.item_index import ItemIndex, read_item_index, read_pairs

FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class ReferenceUsers:
    """R users with what they did: to find those like a profile, and what these have that it has not."""

    keys: npt.NDArray[np.object_]
    """Ascending."""
    idf_I: FloatArray
    units_IR: sp.csr_array
    """Weights times `idf_I`, of length 1 a user; by item, so that a profile reads its own items' users alone."""
    weights_RI: sp.csr_array

    def rows_of(self, keys: npt.NDArray[np.object_]) -> IntArray:
        """Return the row of each key, -1 for one that is not among them."""
        if not self.keys.size:
            return np.full(keys.size, -1, dtype=np.int64)
        places = np.minimum(np.searchsorted(self.keys, keys), self.keys.size - 1)
        return np.where(self.keys[places] == keys, places, -1).astype(np.int64)


@dataclass(frozen=True, eq=False)
class Evidence:
    """All that is known of I items beyond their texts. Shared by all tasks of the process: read only."""

    facts: dict[str, FloatArray]
    """Columns of `spark.retrieval.evidence.item_facts`, price, and codes of brand and categories; (I,) each."""
    models: dict[str, sp.csr_matrix]
    """Item-item models by name, co-visitation among them, row of the item -> row of the neighbor; float32."""
    users: ReferenceUsers


@lru_cache(maxsize=2)
def read_evidence(index_folder: str) -> Evidence:
    """Read what the night wrote beside its item index; once per process and folder."""
    index = read_item_index(index_folder)
    folder = f"{index_folder}/{EVIDENCE}"
    models = {name: read_pairs(f"{folder}/{name}", index.finder) for name in ITEM_MODELS}
    models[COVISITATION] = index.neighbors_II
    return Evidence(
        _read_facts(f"{folder}/facts", index),
        {name: pairs.astype(np.float32) for name, pairs in models.items()},
        _read_users(f"{folder}/users", index),
    )


def _read_facts(folder: str, index: ItemIndex) -> dict[str, FloatArray]:
    table = read_parquet(folder)
    rows = index.finder.find(table["item_index"].to_numpy().astype(np.int64))
    known = rows >= 0
    facts = {}
    for name in table.column_names:
        if name == "item_index":
            continue
        column = table[name].combine_chunks()
        if pa.types.is_string(column.type):
            # Codes in the order of the texts, so that they do not hang on the order of files.
            texts = sorted(set(column.drop_null().to_pylist()))
            codes = {text: code for code, text in enumerate(texts)}
            values = np.array([codes.get(text, -1) for text in column.to_pylist()], dtype=np.float32)
            empty = -1.0
        else:
            values = column.cast(pa.float64()).fill_null(np.nan).to_numpy(zero_copy_only=False).astype(np.float32)
            empty = np.nan
        facts[name] = np.full(index.num_items, empty, dtype=np.float32)
        facts[name][rows[known]] = values[known]
    return facts


def _read_users(folder: str, index: ItemIndex) -> ReferenceUsers:
    table = read_parquet(folder)
    items = index.finder.find(table["item_index"].to_numpy().astype(np.int64))
    known = items >= 0
    names = np.asarray(table["user_id"].to_pylist(), dtype=object)[known]
    keys, users = np.unique(names, return_inverse=True) if names.size else (names, np.zeros(0, dtype=np.int64))
    shape = (keys.size, index.num_items)
    weights_RI = sp.csr_array((table["weight"].to_numpy()[known].astype(np.float32), (users, items[known])), shape)
    weights_RI.sort_indices()
    counts_I = np.bincount(weights_RI.indices, minlength=index.num_items)
    idf_I = np.log1p(keys.size / (counts_I + 1.0)).astype(np.float32)
    return ReferenceUsers(keys, idf_I, sp.csr_array(unit_rows(weights_RI, idf_I).T), weights_RI)


def unit_rows(weights_PI: sp.csr_array, idf_I: FloatArray) -> sp.csr_array:
    """Return the rows times `idf_I`, scaled to length 1; empty ones stay."""
    scaled = weights_PI.copy()
    scaled.data = scaled.data * idf_I[scaled.indices]
    rows = owners_of(scaled.indptr)
    lengths = np.sqrt(np.bincount(rows, weights=scaled.data.astype(np.float64) ** 2, minlength=scaled.shape[0]))
    scaled.data = (scaled.data / np.maximum(lengths, 1e-12)[rows]).astype(np.float32)
    return scaled
