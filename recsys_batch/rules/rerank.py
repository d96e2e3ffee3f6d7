"""Reranking: from candidates in ranked order to the list that is shown."""

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class Selection:
    """Chosen positions, best first, and how many of them broke the category cap to fill the list."""

    positions: npt.NDArray[np.intp]
    num_over_cap: int


def select_top(categories_R: npt.NDArray[Any], top_n: int, category_cap: int) -> Selection:
    """Choose up to `top_n` of R ranked candidates with at most `category_cap` of one category (0: no cap).

    `categories_R` holds the category code of each candidate, best first; a negative code means no category and is
    never capped. Where the cap would leave the list short, the best capped candidates are let in again. The chosen
    keep their ranked order, so scores never rise with rank.
    """
    if category_cap <= 0:
        return Selection(np.arange(min(top_n, categories_R.size)), 0)
    chosen: list[int] = []
    deferred: list[int] = []
    taken: Counter[int] = Counter()
    for position, category in enumerate(categories_R.tolist()):
        if len(chosen) == top_n:
            break
        if category >= 0 and taken[category] >= category_cap:
            deferred.append(position)
            continue
        taken[category] += 1
        chosen.append(position)
    fill = deferred[: top_n - len(chosen)]
    return Selection(np.array(sorted(chosen + fill), dtype=np.intp), len(fill))
