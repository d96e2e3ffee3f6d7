"""Exact, deterministic top-k by dot product, in bounded memory, item block by item block.

Ties go to the lower item index, which `torch.topk` does not promise: a score and its item index are packed into one
int64 key, so that keys never tie and every selection is exact. Most scores never become keys: once a query has k
results, one comparison with its k-th score discards nearly all of a block.

Shapes: Q queries, I items, B items of a block, D vector width, K results a query. Works on the CPU and on CUDA.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from recsys_batch.nn.backbones.linear import FixedLinear
from recsys_batch.nn.scoring.seen import SeenItems, SeenLookup
from recsys_batch.nn.threads import side_by_side

_EMPTY_KEY = -(2**63)
_MAX_INDEX = 2**32 - 1
_CPU_TILE_ITEMS, _CPU_SCORE_BYTES = 4096, 4 << 20
_CUDA_TILE_ITEMS, _CUDA_SCORE_BYTES = 32768, 512 << 20
_WORD_BYTES = 8
_DENSE_SHARE = 16


@dataclass(frozen=True)
class ItemBlock:
    """Consecutive items `offset, offset + 1, ...` with their vectors.

    `eligible_B` (bool) removes items for every query; `bias_B` (float) is added to every score of an item.
    """

    offset: int
    vectors_BD: Tensor
    eligible_B: Tensor | None = None
    bias_B: Tensor | None = None


@dataclass(frozen=True)
class TopK:
    """Results a query, best first; short rows end in index -1 with score -inf."""

    scores_QK: Tensor
    indices_QK: Tensor


@dataclass(frozen=True)
class _Tile:
    """Eligible items of one block, few enough that a chunk's scores stay in cache; `items_B` ascends."""

    items_B: Tensor
    product: FixedLinear


def exact_topk(
    queries_QD: Tensor,
    blocks: Iterable[ItemBlock],
    k: int,
    exclude: SeenItems | None = None,
    max_score_bytes: int | None = None,
) -> TopK:
    """Return for each query the k items of the highest dot product: score descending, then item index ascending.

    Scores are computed in float32 on the device of `queries_QD`; blocks are moved there. Blocks may come in any order
    and are read once; no item may occur twice. `exclude` names items that a query must not get. At most
    `max_score_bytes` of scores exist at a time (default 4 MiB a thread on the CPU, 512 MiB on CUDA), plus a few times
    that while ties are sorted out, plus 8 bytes for each result.

    Raises ValueError for k below 1, unequal widths, item indices outside 0..2**32-2, vectors or biases that are not
    finite or so large that a score could overflow, and `exclude` for another number of queries.
    """
    if k < 1:
        raise ValueError(f"k must be at least 1, not {k}")
    queries_QD = queries_QD.detach().float()
    num_queries = queries_QD.shape[0]
    query_max = _largest(queries_QD, "queries")
    if exclude is not None and exclude.num_queries != num_queries:
        raise ValueError(f"exclude covers {exclude.num_queries} queries, not {num_queries}")
    device = queries_QD.device
    num_threads = torch.get_num_threads() if device.type == "cpu" else 1
    tile_items, rows = _shape(num_queries, device, num_threads, max_score_bytes)
    seen = [exclude.lookup(part, device) if exclude is not None else None for part in rows]
    keys_QK = torch.full((num_queries, k), _EMPTY_KEY, dtype=torch.int64, device=device)

    def merge(tile: _Tile, part: slice, lookup: SeenLookup | None) -> None:
        with torch.inference_mode():
            keys_QK[part] = _merge(keys_QK[part], queries_QD[part], tile, lookup)

    with side_by_side(num_threads if len(rows) > 1 else 1) as start:
        finish: Callable[[], None] | None = None
        for tile in _tiles(blocks, queries_QD, query_max, tile_items):
            if finish is not None:
                finish()
            finish = start([partial(merge, tile, part, lookup) for part, lookup in zip(rows, seen, strict=True)])
        if finish is not None:
            finish()
    scores_QK, indices_QK = _decode(keys_QK)
    return TopK(scores_QK, indices_QK)


def _shape(
    num_queries: int, device: torch.device, num_threads: int, max_score_bytes: int | None
) -> tuple[int, list[slice]]:
    """Return the items of a tile, and the chunks of queries, so that the scores of all threads stay within the
    limit.
    """
    tile_items, score_bytes = _CPU_TILE_ITEMS, num_threads * _CPU_SCORE_BYTES
    if device.type != "cpu":
        tile_items, score_bytes = _CUDA_TILE_ITEMS, _CUDA_SCORE_BYTES
    if max_score_bytes is not None:
        score_bytes = max_score_bytes
    num_scores = max(1, score_bytes // (4 * num_threads))
    tile_items = min(tile_items, num_scores)
    chunk = max(1, min(num_scores // tile_items, -(-num_queries // num_threads)))
    return tile_items, [slice(start, min(start + chunk, num_queries)) for start in range(0, num_queries, chunk)]


def _largest(values: Tensor, name: str) -> float:
    """Return the largest magnitude. Raises ValueError where a value is not finite."""
    if values.numel() == 0:
        return 0.0
    low, high = torch.aminmax(values)
    largest = float(torch.maximum(-low, high))
    if not largest < float("inf"):
        raise ValueError(f"{name} hold a value that is not finite")
    return largest


def _tiles(blocks: Iterable[ItemBlock], queries_QD: Tensor, query_max: float, tile_items: int) -> Iterator[_Tile]:
    device = queries_QD.device
    for block in blocks:
        num_items, width = block.vectors_BD.shape
        if width != queries_QD.shape[1]:
            raise ValueError(f"items at {block.offset} have {width} columns, the queries {queries_QD.shape[1]}")
        if block.offset < 0 or block.offset + num_items > _MAX_INDEX:
            raise ValueError(f"item indices {block.offset}.. must lie in 0..{_MAX_INDEX - 1}")
        items_B = torch.arange(num_items) if block.eligible_B is None else block.eligible_B.cpu().nonzero().flatten()
        for columns_B in torch.split(items_B, tile_items) if items_B.numel() else ():
            first, last = int(columns_B[0]), int(columns_B[-1]) + 1
            is_whole = last - first == columns_B.numel()
            pick = slice(first, last) if is_whole else columns_B.to(block.vectors_BD.device)
            vectors_BD = block.vectors_BD[pick].to(device, torch.float32)
            bias_B = None if block.bias_B is None else block.bias_B[pick].to(device, torch.float32)
            bound = _largest(vectors_BD, f"items at {block.offset}") * query_max * width
            if bias_B is not None:
                bound += _largest(bias_B, f"biases at {block.offset}")
            if bound >= torch.finfo(torch.float32).max:
                raise ValueError(f"items at {block.offset} and the queries are so large that a score can overflow")
            yield _Tile((columns_B + block.offset).to(device), FixedLinear(vectors_BD, bias_B))


def _merge(keys_QK: Tensor, queries_QD: Tensor, tile: _Tile, seen: SeenLookup | None) -> Tensor:
    """Return the best K keys of a chunk's running results and the scores of one tile."""
    scores_QB = tile.product(queries_QD)
    if seen is not None:
        rows, columns = seen.cells(tile.items_B)
        scores_QB[rows, columns] = -torch.inf
    floor_Q1 = _scores_of(keys_QK[:, -1:])
    cells_C = _cells_at_least(scores_QB, floor_Q1)
    if cells_C.numel() * _DENSE_SHARE > scores_QB.numel():
        candidates_QC = _keys_of(scores_QB, tile.items_B)
    else:
        rows_C = cells_C // scores_QB.shape[1]
        items_C = tile.items_B.index_select(0, cells_C - rows_C * scores_QB.shape[1])
        keys_C = _keys_of(scores_QB.view(-1).index_select(0, cells_C), items_C)
        candidates_QC = _spread(keys_C, rows_C, keys_QK.shape[0])
    if candidates_QC.shape[1] == 0:
        return keys_QK
    return torch.cat([keys_QK, candidates_QC], dim=1).topk(keys_QK.shape[1], dim=1).values


def _cells_at_least(scores_QB: Tensor, floor_Q1: Tensor) -> Tensor:
    """Return the flat positions (row * B + column, ascending) of the scores that reach their row's floor.

    Flags are searched eight at a time, as words, because nearly all are unset.
    """
    reached_QB = scores_QB >= floor_Q1
    if reached_QB.numel() % _WORD_BYTES:
        return reached_QB.view(-1).nonzero().view(-1)
    words_W = reached_QB.view(-1).view(torch.int64).nonzero().view(-1)
    flags_C = reached_QB.view(-1, _WORD_BYTES).index_select(0, words_W).view(-1).nonzero().view(-1)
    return (words_W.index_select(0, flags_C >> 3) << 3) | (flags_C & 7)


def _spread(keys_C: Tensor, rows_C: Tensor, num_rows: int) -> Tensor:
    """Return keys as a matrix with one row a query, as wide as the fullest row, from keys with ascending row
    numbers.
    """
    counts_Q = torch.bincount(rows_C, minlength=num_rows)
    starts_Q = counts_Q.cumsum(0) - counts_Q
    width = int(counts_Q.max())
    spread_QC = torch.full((num_rows, width), _EMPTY_KEY, dtype=torch.int64, device=keys_C.device)
    spread_QC[rows_C, torch.arange(rows_C.numel(), device=rows_C.device) - starts_Q.index_select(0, rows_C)] = keys_C
    return spread_QC


def _keys_of(scores: Tensor, items: Tensor) -> Tensor:
    """Pack scores and item indices into int64 keys whose order is: score ascending, then item index descending."""
    bits = (scores + 0.0).view(torch.int32)  # adding 0.0 makes -0.0 the same score as 0.0
    ordered = bits ^ ((bits >> 31) & 0x7FFFFFFF)
    return (ordered.long() << 32) | (_MAX_INDEX - items)


def _scores_of(keys: Tensor) -> Tensor:
    """Return the float32 scores of keys; an empty key gives -inf."""
    ordered = (keys >> 32).to(torch.int32)
    scores = (ordered ^ ((ordered >> 31) & 0x7FFFFFFF)).view(torch.float32)
    return torch.where(keys == _EMPTY_KEY, -torch.inf, scores)


def _decode(keys_QK: Tensor) -> tuple[Tensor, Tensor]:
    scores_QK = _scores_of(keys_QK)
    return scores_QK, torch.where(torch.isneginf(scores_QK), -1, _MAX_INDEX - (keys_QK & _MAX_INDEX))
