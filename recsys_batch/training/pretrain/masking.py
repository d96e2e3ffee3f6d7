"""Which tokens of a text are hidden, and by what; which spans are cut out. NumPy alone, by the batch's generator.

Shapes: L tokens of one text.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Ids = NDArray[np.int64]
_SHARE_MASKED, _SHARE_RANDOM = 0.8, 0.1


def choose_words(words_L: Ids, share: float, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Return which tokens to hide (L): whole words in random order until `share` of the tokens is reached.

    `words_L` is each token's word, -1 for tokens that are never hidden, which do not count either. At least one word
    is hidden where there is one; the last word may go beyond the share (a word of three tokens in a text of five).
    """
    distinct, counts = np.unique(words_L[words_L >= 0], return_counts=True)
    if not distinct.size:
        return np.zeros(len(words_L), dtype=bool)
    wanted = max(1, round(share * int(counts.sum())))
    order = rng.permutation(len(distinct))
    last = int(np.searchsorted(counts[order].cumsum(), wanted))
    return np.isin(words_L, distinct[order[: last + 1]])


def hide(ids_L: Ids, hidden_L: NDArray[np.bool_], mask_id: int, ordinary: Ids, rng: np.random.Generator) -> Ids:
    """Return the ids with the hidden ones replaced as BERT does: 80% by `mask_id`, 10% by an ordinary token drawn at
    random, 10% by themselves (Devlin et al., 2019).
    """
    draws_L = rng.random(len(ids_L))
    random_L = ordinary[rng.integers(len(ordinary), size=len(ids_L))]
    replaced_L = np.where(draws_L < _SHARE_MASKED, mask_id, random_L)
    replaced_L = np.where(draws_L < _SHARE_MASKED + _SHARE_RANDOM, replaced_L, ids_L)
    replaced: Ids = np.where(hidden_L, replaced_L, ids_L).astype(np.int64)
    return replaced


@dataclass(frozen=True)
class Spans:
    """Places of the tokens cut out of a text, in pieces; `starts` rise and pieces do not touch."""

    starts: Ids
    lengths: Ids


def choose_spans(num_tokens: int, share: float, mean_span: float, most: int, rng: np.random.Generator) -> Spans:
    """Return spans that hold `share` of the tokens in pieces of `mean_span` on average, at most `most` pieces.

    As T5 draws them (Raffel et al., 2020): numbers of cut and kept tokens are fixed, and each is split at random into
    as many parts, a kept one first. Raises ValueError for fewer than two tokens, of which one must stay.
    """
    if num_tokens < 2:
        raise ValueError(f"a text of {num_tokens} token(s) has nothing to cut out and to keep")
    num_cut = min(max(1, round(num_tokens * share)), num_tokens - 1)
    num_kept = num_tokens - num_cut
    num_spans = min(max(1, round(num_cut / mean_span)), num_cut, num_kept, most)
    kept, cut = _split(num_kept, num_spans, rng), _split(num_cut, num_spans, rng)
    ends = (kept + cut).cumsum()
    return Spans(ends - cut, cut)


def cut_spans(ids_L: Ids, spans: Spans, sentinels: Ids, eos_id: int) -> tuple[Ids, Ids]:
    """Return what is left, a sentinel in place of each span, and the spans after their sentinels; both end in
    `eos_id`.
    """
    inputs: list[int] = []
    targets: list[int] = []
    place = 0
    for start, length, mark in zip(spans.starts.tolist(), spans.lengths.tolist(), sentinels.tolist(), strict=False):
        inputs += [*ids_L[place:start].tolist(), mark]
        targets += [mark, *ids_L[start : start + length].tolist()]
        place = start + length
    inputs += ids_L[place:].tolist()
    return np.array([*inputs, eos_id], dtype=np.int64), np.array([*targets, eos_id], dtype=np.int64)


def _split(total: int, parts: int, rng: np.random.Generator) -> Ids:
    """Return `parts` positive numbers that sum to `total`, every such list equally likely."""
    cuts = np.sort(rng.permutation(total - 1)[: parts - 1]) + 1
    lengths: Ids = np.diff(np.concatenate([[0], cuts, [total]])).astype(np.int64)
    return lengths
