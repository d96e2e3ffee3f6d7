"""Ranking metrics over test cases with one target each; named variants as RecTools, RePlay and ranx define them."""

import numpy as np
import numpy.typing as npt


def hit_rate(ranks: npt.NDArray[np.int64], k: int) -> float:
    """Share of the cases whose target stands within the first k. `ranks` is 1-based; 0 means not in the list."""
    return float(((ranks >= 1) & (ranks <= k)).mean()) if ranks.size else 0.0


def ndcg(ranks: npt.NDArray[np.int64], k: int) -> float:
    """Mean of 1 / log2(rank + 1) over the cases with the target within the first k, 0 for the others.

    With one target a case the ideal gain is 1, so this is NDCG@k in every variant (Järvelin and Kekäläinen, 2002).
    """
    if not ranks.size:
        return 0.0
    hit = (ranks >= 1) & (ranks <= k)
    return float(np.where(hit, 1.0 / np.log2(np.maximum(ranks, 1) + 1.0), 0.0).mean())
