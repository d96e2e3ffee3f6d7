"""Ranking metrics over test cases with one target each; named variants as RecTools, RePlay and ranx define them."""

from typing import Literal

import numpy as np
import numpy.typing as npt


def hits(ranks: npt.NDArray[np.int64], k: int) -> npt.NDArray[np.float64]:
    """Return 1 for each case whose target stands within the first k, else 0. `ranks` is 1-based; 0: not in the list."""
    return ((ranks >= 1) & (ranks <= k)).astype(np.float64)


def gains(ranks: npt.NDArray[np.int64], k: int) -> npt.NDArray[np.float64]:
    """Return 1 / log2(rank + 1) for each case with the target within the first k, else 0.

    With one target a case the ideal gain is 1, so this is NDCG@k in every variant (Järvelin and Kekäläinen, 2002).
    """
    return np.where(hits(ranks, k) > 0, 1.0 / np.log2(np.maximum(ranks, 1) + 1.0), 0.0)


def hit_rate(ranks: npt.NDArray[np.int64], k: int) -> float:
    """Share of the cases whose target stands within the first k. `ranks` is 1-based; 0 means not in the list."""
    return float(hits(ranks, k).mean()) if ranks.size else 0.0


def ndcg(ranks: npt.NDArray[np.int64], k: int) -> float:
    """Mean of `gains` over the cases."""
    return float(gains(ranks, k).mean()) if ranks.size else 0.0


def graded_ndcg(
    grades_R: npt.NDArray[np.float64],
    all_grades_N: npt.NDArray[np.float64],
    k: int,
    gain: Literal["exponential", "linear"] = "exponential",
) -> float:
    """NDCG@k of one list: `grades_R` of its items in rank order, `all_grades_N` of all judged items of the case.

    An item that nobody judged has grade 0. The gain of a grade is 2**grade - 1 (`ndcg@k[gain=exp]`; Burges et al.,
    2005; also trec_eval's with such gains) or the grade itself (`ndcg@k[gain=linear]`; Järvelin and Kekäläinen, 2002).
    NaN where no judged item is relevant: such a case says nothing and is left out of a mean.
    """
    ideal = _dcg(np.sort(all_grades_N)[::-1], k, gain)
    return _dcg(grades_R, k, gain) / ideal if ideal > 0 else float("nan")


def _dcg(grades_R: npt.NDArray[np.float64], k: int, gain: str) -> float:
    top_K = np.asarray(grades_R, dtype=np.float64)[:k]
    gains_K = np.exp2(top_K) - 1 if gain == "exponential" else top_K
    return float((gains_K / np.log2(np.arange(top_K.size) + 2.0)).sum())
