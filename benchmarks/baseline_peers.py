"""Recommenders of other libraries on a held-out cut, beside the lists that `evaluate --hold-out --export` wrote.

The peers exclude our versions, so they have an environment of their own and are compared by files:

    make evaluate CONFIG=conf/X.yaml DS=... ARGS='--hold-out --days 30 --export /tmp/cuts'
    python3.11 -m venv /tmp/peers && /tmp/peers/bin/pip install implicit==0.7.2 rectools==0.19.0 "pyarrow<21"
    /tmp/peers/bin/python benchmarks/baseline_peers.py --cut /tmp/cuts/2011-11-09 --days 30 [--repeats]

Each peer has four settings, tried on the cut `--days` earlier, as our own baselines have. Prints a row a list maker:
recall (hits / min(k, targets)) and binary NDCG at k, means over users with a target. Knows nothing of the project.
"""

import argparse
import json
from collections.abc import Callable, Iterator
from importlib.metadata import version
from itertools import product
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from implicit.als import AlternatingLeastSquares
from implicit.bpr import BayesianPersonalizedRanking
from implicit.nearest_neighbours import BM25Recommender, CosineRecommender
from rectools import Columns
from rectools.dataset import Dataset
from rectools.models import EASEModel
from scipy import sparse

K = 20
SEED = 0
Fit = Callable[..., Callable[[np.ndarray], np.ndarray]]


def main() -> None:
    """Read a cut, tune every peer, measure, and print."""
    parser = argparse.ArgumentParser(description="Recommenders of other libraries on an exported cut.")
    parser.add_argument("--cut", type=Path, required=True, help="folder that evaluate --export wrote")
    parser.add_argument("--days", type=int, required=True, help="days of the targets: where the earlier cut is")
    parser.add_argument("--repeats", action="store_true", help="items that the user had may be in the lists")
    args = parser.parse_args()
    acts, items, targets, lists = (
        pq.read_table(args.cut / f"{name}.parquet").to_pandas() for name in ("acts", "items", "targets", "lists")
    )
    names_I = items.item_id.to_numpy()
    users = np.sort(acts.user_id.unique())
    rows, columns = np.searchsorted(users, acts.user_id), np.searchsorted(names_I, acts.item_id)
    shape = (len(users), len(names_I))
    known = _binary(rows, columns, shape)
    wanted = _binary(np.searchsorted(users, targets.user_id), np.searchsorted(names_I, targets.item_id), shape)
    old = acts.age_days.to_numpy() >= args.days
    before, after = _binary(rows[old], columns[old], shape), _binary(rows[~old], columns[~old], shape)
    if not args.repeats:
        after = after - after.multiply(before)
        after.eliminate_zeros()
    eligible_I = items.eligible.to_numpy()
    found = {
        run: _measure(_given(part, users, names_I), wanted, _with_targets(wanted)) for run, part in lists.groupby("run")
    }
    tried_U = np.random.default_rng(SEED).permutation(_with_targets(after, before))[:2_000]
    for name, fit, settings in _peers():
        scores = []
        for each in settings:
            made = _lists(fit(before, **each), before, tried_U, eligible_I, args.repeats)
            scores.append(_measure(made, after, tried_U)["ndcg"])
        best = settings[int(np.argmax(scores))]
        users_U = _with_targets(wanted)
        made = _lists(fit(known, **best), known, users_U, eligible_I, args.repeats)
        found[name] = _measure(made, wanted, users_U) | {"settings": best}
    for run, values in sorted(found.items(), key=lambda each: -each[1]["ndcg"]):
        print(
            f"{run:28} recall@{K} {values['recall']:.4f}  ndcg@{K} {values['ndcg']:.4f}  {values.get('settings', '')}"
        )
    ours, peer = found["this night"], max((n for n in found if "(" in n), key=lambda n: found[n]["ndcg"])
    line = {"benchmark": f"ndcg@{K} of the night, {args.cut.name}", "peer": peer, "ours": ours["ndcg"]}
    print(json.dumps(line | {"theirs": found[peer]["ndcg"], "ratio": round(ours["ndcg"] / found[peer]["ndcg"], 3)}))


def _peers() -> Iterator[tuple[str, Fit, list[dict[str, float]]]]:
    implicit, rectools = f"(implicit {version('implicit')})", f"(RecTools {version('rectools')})"
    yield f"ALS {implicit}", _als, [{"factors": f, "alpha": a} for f, a in product((64, 128), (1.0, 20.0))]
    yield f"BPR {implicit}", _bpr, [{"factors": f, "rate": r} for f, r in product((64, 128), (0.01, 0.05))]
    yield f"cosine {implicit}", _cosine, [{"neighbors": n} for n in (20, 50, 200, 500)]
    yield f"BM25 {implicit}", _bm25, [{"neighbors": n, "b": b} for n, b in product((50, 200), (0.2, 0.8))]
    yield f"EASE {rectools}", _ease, [{"l2": x} for x in (50.0, 200.0, 500.0, 1000.0)]


def _als(known: sparse.csr_matrix, factors: int, alpha: float) -> Callable[[np.ndarray], np.ndarray]:
    model = AlternatingLeastSquares(factors=factors, alpha=alpha, random_state=SEED)
    model.fit(known, show_progress=False)
    return lambda users_U: model.user_factors[users_U] @ model.item_factors.T


def _bpr(known: sparse.csr_matrix, factors: int, rate: float) -> Callable[[np.ndarray], np.ndarray]:
    model = BayesianPersonalizedRanking(factors=factors, learning_rate=rate, iterations=100, random_state=SEED)
    model.fit(known, show_progress=False)
    return lambda users_U: model.user_factors[users_U] @ model.item_factors.T


def _cosine(known: sparse.csr_matrix, neighbors: int) -> Callable[[np.ndarray], np.ndarray]:
    return _neighbors(CosineRecommender(K=neighbors), known)


def _bm25(known: sparse.csr_matrix, neighbors: int, b: float) -> Callable[[np.ndarray], np.ndarray]:
    return _neighbors(BM25Recommender(K=neighbors, B=b), known)


def _neighbors(model: CosineRecommender, known: sparse.csr_matrix) -> Callable[[np.ndarray], np.ndarray]:
    model.fit(known, show_progress=False)
    similar = sparse.csr_matrix(model.similarity)
    similar.setdiag(0)
    return lambda users_U: _proposed((known[users_U] @ similar).toarray())


def _ease(known: sparse.csr_matrix, l2: float) -> Callable[[np.ndarray], np.ndarray]:
    import pandas as pd

    rows, columns = known.nonzero()
    day = pd.Timestamp("2020-01-01")
    frame = pd.DataFrame({Columns.User: rows, Columns.Item: columns, Columns.Weight: 1.0, Columns.Datetime: day})
    data = Dataset.construct(frame)
    model = EASEModel(regularization=l2).fit(data)
    places = data.item_id_map.convert_to_internal(np.unique(columns))

    def score(users_U: np.ndarray) -> np.ndarray:
        scores_UI = np.full((len(users_U), known.shape[1]), -np.inf)
        scores_UI[:, np.unique(columns)] = known[users_U][:, np.unique(columns)] @ model.weight[np.ix_(places, places)]
        return scores_UI

    return score


def _proposed(scores: np.ndarray) -> np.ndarray:
    return np.where(scores > 0, scores, -np.inf)


def _lists(
    scorer: Callable[[np.ndarray], np.ndarray],
    known: sparse.csr_matrix,
    users_U: np.ndarray,
    eligible_I: np.ndarray,
    repeats: bool,
) -> np.ndarray:
    scores_UI = np.where(eligible_I, scorer(users_U), -np.inf)
    if not repeats:
        scores_UI[known[users_U].nonzero()] = -np.inf
    order_UK = np.argsort(-scores_UI, axis=1, kind="stable")[:, :K]
    return np.where(np.take_along_axis(scores_UI, order_UK, 1) > -np.inf, order_UK, -1)


def _given(part: object, users: np.ndarray, names_I: np.ndarray) -> dict[int, np.ndarray]:
    made: dict[int, np.ndarray] = {}
    for user, rows in part.sort_values("rank").groupby("user_id"):  # type: ignore[attr-defined]
        made[int(np.searchsorted(users, user))] = np.searchsorted(names_I, rows.item_id.to_numpy())[:K]
    return made


def _measure(lists: np.ndarray | dict[int, np.ndarray], wanted: sparse.csr_matrix, users_U: np.ndarray) -> dict:
    recall, ndcg = [], []
    for place, user in enumerate(users_U):
        listed = lists.get(int(user), np.empty(0, int)) if isinstance(lists, dict) else lists[place]
        relevant = set(wanted.indices[wanted.indptr[user] : wanted.indptr[user + 1]].tolist())
        hits = [n for n, item in enumerate(listed) if int(item) in relevant]
        attainable = min(K, len(relevant))
        recall.append(len(hits) / attainable)
        ndcg.append(sum(1 / np.log2(n + 2) for n in hits) / sum(1 / np.log2(n + 2) for n in range(attainable)))
    return {"recall": float(np.mean(recall)), "ndcg": float(np.mean(ndcg))}


def _with_targets(wanted: sparse.csr_matrix, known: sparse.csr_matrix | None = None) -> np.ndarray:
    has = np.diff(wanted.indptr) > 0
    return np.flatnonzero(has if known is None else has & (np.diff(known.indptr) > 0))


def _binary(rows: np.ndarray, columns: np.ndarray, shape: tuple[int, int]) -> sparse.csr_matrix:
    made = sparse.csr_matrix((np.ones(len(rows)), (rows, columns)), shape=shape)
    made.data[:] = 1.0
    return made


if __name__ == "__main__":
    main()
