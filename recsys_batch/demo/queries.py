"""What users type into the search box: words of what they look for, with typos and noise."""

import numpy as np

from recsys_batch.demo.catalog import VOCABULARIES
from recsys_batch.demo.dirt import QUERY_CASE_RATE, QUERY_TYPO_RATE
from recsys_batch.demo.draws import IntArray, hashes, uniform
from recsys_batch.demo.sessions import Sessions
from recsys_batch.demo.tastes import Tastes


def write_queries(seed: int, tastes: Tastes, sessions: Sessions, chosen: IntArray) -> list[str]:
    """Write the queries of the chosen sessions."""
    user, number = sessions.user[chosen], sessions.number[chosen]
    points = uniform(seed, "query/form", user[:, None], number[:, None], np.arange(4)[None, :]).tolist()
    picks = (hashes(seed, "query/pick", user, number) >> np.uint64(33)).tolist()
    row, interest = sessions.row[chosen], sessions.interest[chosen]
    favorite = np.maximum(interest, 0)
    brands = np.where(interest < 0, np.array(picks) % 6, tastes.brand[row, favorite]).tolist()
    styles = np.where(interest < 0, np.array(picks) % 4, tastes.style[row, favorite]).tolist()
    places = zip(
        sessions.domain[chosen].tolist(), sessions.leaf[chosen].tolist(), sessions.product[chosen].tolist(), strict=True
    )
    queries = []
    for (domain, leaf, product), brand, style, pick, point in zip(places, brands, styles, picks, points, strict=True):
        clean = _compose(domain, leaf, product, brand, style, pick, point[0])
        queries.append(_add_noise(clean, pick, point[1], point[2]))
    return queries


def _compose(domain: int, leaf: int, product: int, brand: int, style: int, pick: int, form: float) -> str:
    vocabulary = VOCABULARIES[domain]
    words = vocabulary.leaves[leaf]
    gap = " " if domain == 0 or pick % 3 == 0 else ""
    name = words.products[product]
    if form < 0.38:
        return name
    if form < 0.62:
        return words.axes[0][1][style] + gap + name
    if form < 0.76:
        return vocabulary.brands[words.department][brand] + gap + name
    if form < 0.88:
        color = words.axes[1][1][pick % len(words.axes[1][1])]
        return f"{name} {color}" if domain == 0 else color + gap + name
    if form < 0.95:
        return words.path.split(" > ")[2]
    size = words.axes[2][1][pick % len(words.axes[2][1])]
    return f"{name} {size}"


def _add_noise(query: str, pick: int, typo: float, noise: float) -> str:
    if typo < QUERY_TYPO_RATE and len(query) > 3:
        place = 1 + pick % (len(query) - 2)
        if query.isascii():
            query = query[:place] + query[place + 1] + query[place] + query[place + 2 :]
        else:
            query = query[:place] + query[place + 1 :]
    if noise < QUERY_CASE_RATE / 2:
        return query.upper() if query.isascii() else f"{query} "
    if noise < QUERY_CASE_RATE:
        return f" {query}"
    return query.lower() if query.isascii() else query
