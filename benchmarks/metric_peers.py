"""Expected values of metrics of lists, computed by other libraries, for tests/spark/test_spark_list_metrics.py.

The peers need another numpy than the project, so they have an environment of their own:

    python3.11 -m venv /tmp/peers && /tmp/peers/bin/pip install rectools==0.19.0 ranx==0.3.21 \
        pytrec_eval-terrier==0.5.11 scikit-learn
    /tmp/peers/bin/python benchmarks/metric_peers.py --out tests/spark/data/metric_peers.json

Writes the inputs, drawn from a seed, next to what each peer makes of them and its version. Knows nothing of the
project's own metrics.
"""

import argparse
import json
from collections.abc import Callable
from importlib.metadata import version
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytrec_eval
import ranx
from rectools import Columns, metrics
from sklearn.metrics import mean_absolute_error, mean_squared_error, roc_auc_score

KS = (1, 4, 20)
NUM_ITEMS = 30
HAND_MADE = {
    # Lists in rank order, and targets with their grades.
    "lists": {"single": "abcde", "all": "abc", "none": "abcd", "second": "ba", "no_target": "abc"},
    "targets": {
        "single": {"c": 2},
        "all": {"a": 1, "b": 3, "c": 2},
        "none": {"x": 1, "y": 2},
        "second": {"a": 3, "z": 1},
        "no_list": {"a": 1, "b": 1},
    },
    "history": {"single": "ab", "all": "a", "second": "abz"},
}


def draw_case(seed: int) -> dict[str, Any]:
    """Return random lists of 3 to 12 items with tied scores, targets, and histories in which some items are common."""
    rng = np.random.default_rng(seed)
    items = [f"i{n:02d}" for n in range(NUM_ITEMS)]
    popularity = 1 / np.arange(1, NUM_ITEMS + 1)
    lists, targets, history = {}, {}, {}
    for n in range(40):
        user = f"u{n:02d}"
        if n % 10:
            lists[user] = list(rng.permutation(items)[: rng.integers(3, 13)])
        if n % 7:
            chosen = rng.permutation(items)[: rng.integers(1, 9)]
            targets[user] = {str(item): int(rng.integers(1, 4)) for item in chosen}
        size = int(rng.integers(1, 9))
        history[user] = list(rng.choice(items, size, replace=False, p=popularity / popularity.sum()))
    return {"lists": lists, "targets": targets, "history": history}


def complete(case: dict[str, Any], seed: int) -> dict[str, Any]:
    """Return the case as rows, with scores (some equal), categories and vectors of all items."""
    rng = np.random.default_rng(seed)
    lists = [
        [user, str(item), rank, float(-(rank // 2) + 3)]
        for user, listed in case["lists"].items()
        for rank, item in enumerate(listed, 1)
    ]
    targets = [[user, item, grade] for user, graded in case["targets"].items() for item, grade in graded.items()]
    history = [[user, str(item)] for user, had in case["history"].items() for item in had]
    items = sorted({row[1] for row in lists + targets + history})
    categories = [[item, int(rng.integers(0, 4))] for item in items]
    vectors = [[item, rng.standard_normal(6).round(3).tolist()] for item in items]
    return {"lists": lists, "targets": targets, "history": history, "categories": categories, "vectors": vectors}


def of_rectools(case: dict[str, Any]) -> dict[str, float]:
    """Return RecTools' metrics; means over the users with targets (accuracy) or with lists (the others)."""
    reco = pd.DataFrame(case["lists"], columns=[Columns.User, Columns.Item, Columns.Rank, Columns.Score])
    targets = pd.DataFrame(case["targets"], columns=[Columns.User, Columns.Item, "grade"])
    history = pd.DataFrame(case["history"], columns=[Columns.User, Columns.Item])
    catalog = [item for item, _ in case["categories"]]
    features = pd.DataFrame(case["categories"], columns=[Columns.Item, "category"]).set_index(Columns.Item)
    distance = metrics.PairwiseHammingDistanceCalculator(features)
    found = {}
    for k in KS:
        accuracy = {
            "precision": metrics.Precision(k),
            "recall": metrics.Recall(k),
            "recall_min": metrics.Precision(k, r_precision=True),
            "hit_rate": metrics.HitRate(k),
            "mrr": metrics.MRR(k),
            "map": metrics.MAP(k),
            "ndcg": metrics.NDCG(k, divide_by_achievable=True),
        }
        found |= {f"{name}@{k}": metric.calc(reco, targets) for name, metric in accuracy.items()}
        found[f"novelty@{k}"] = metrics.MeanInvUserFreq(k).calc(reco, history)
        found[f"popularity@{k}"] = metrics.AvgRecPopularity(k).calc(reco, history)
        found[f"serendipity@{k}"] = metrics.Serendipity(k).calc(reco, targets, history, catalog)
        found[f"category_diversity@{k}"] = metrics.IntraListDiversity(k, distance).calc(reco)
        found[f"catalog_coverage@{k}"] = metrics.CatalogCoverage(k, normalize=True).calc(reco, catalog)
        found[f"sufficiency@{k}"] = metrics.SufficientReco(k).calc(reco)
        seen = history.assign(**{Columns.Rank: 1})
        found[f"repeat@{k}"] = metrics.Intersection(k, ref_k=1).calc(reco, seen)
    return {name: float(value) for name, value in found.items()}


def of_ranx(case: dict[str, Any]) -> dict[str, float]:
    """Return ranx's metrics over the users with targets; users without a list have an empty run."""
    qrels = ranx.Qrels(by_user((user, item, grade) for user, item, grade in case["targets"]))
    run = {user: {"nothing": 0.0} for user, _, _ in case["targets"]}
    run |= {u: items for u, items in placed_run(case).items() if u in run}
    names = {
        "precision": "precision",
        "recall": "recall",
        "hit_rate": "hit_rate",
        "mrr": "mrr",
        "map": "map",
        "ndcg_linear": "ndcg",
        "ndcg_exp": "ndcg_burges",
    }
    asked = {f"{ours}@{k}": f"{theirs}@{k}" for ours, theirs in names.items() for k in KS}
    found = ranx.evaluate(qrels, ranx.Run(run), list(asked.values()))
    return {ours: float(found[theirs]) for ours, theirs in asked.items()}


def of_pytrec_eval(case: dict[str, Any]) -> dict[str, float]:
    """Return trec_eval's measures over the users with targets, 0 for those without a list."""
    names = {"precision": "P", "recall": "recall", "hit_rate": "success", "map": "map_cut", "ndcg_linear": "ndcg_cut"}
    cuts = ",".join(str(k) for k in KS)
    qrels = by_user((user, item, grade) for user, item, grade in case["targets"])
    evaluator = pytrec_eval.RelevanceEvaluator(qrels, {f"{theirs}.{cuts}" for theirs in names.values()})
    by_query = evaluator.evaluate({user: items for user, items in placed_run(case).items() if user in qrels})
    return {
        f"{ours}@{k}": sum(values[f"{theirs}_{k}"] for values in by_query.values()) / len(qrels)
        for ours, theirs in names.items()
        for k in KS
    }


def of_scikit_learn(case: dict[str, Any]) -> dict[str, float]:
    """Return the mean AUC of the users, plain and weighted by list length, and errors of scores against grades."""
    grades = {(user, item): grade for user, item, grade in case["targets"]}
    users = {user for user, _, _ in case["targets"]}
    values, lengths = [], []
    for user, rows in pd.DataFrame(case["lists"]).groupby(0):
        labels = [int((user, item) in grades) for item in rows[1]]
        if user in users and 0 < sum(labels) < len(labels):
            values.append(roc_auc_score(labels, rows[3]))
            lengths.append(len(labels))
    rated = [(grades[user, item], score) for user, item, _, score in case["lists"] if (user, item) in grades]
    true, scores = zip(*rated, strict=True)
    return {
        "auc": float(np.mean(values)),
        "gauc": float(np.average(values, weights=lengths)),
        "rmse": float(np.sqrt(mean_squared_error(true, scores))),
        "mae": float(mean_absolute_error(true, scores)),
    }


def of_numpy(case: dict[str, Any]) -> dict[str, float]:
    """Return what no peer has, from the definitions over all pairs: embedding diversity, Gini, overlap of lists."""
    vectors = {item: np.array(vector) / np.linalg.norm(vector) for item, vector in case["vectors"]}
    found = {}
    for k in KS:
        lists = {u: rows[1][:k].tolist() for u, rows in pd.DataFrame(case["lists"]).sort_values([0, 2]).groupby(0)}
        distances = [[1 - vectors[a] @ vectors[b] for a, b in combinations(items, 2)] for items in lists.values()]
        found[f"vector_diversity@{k}"] = float(np.mean([np.mean(d) if d else 0.0 for d in distances]))
        shown = np.array([sum(item in items for items in lists.values()) for item in vectors])
        found[f"gini@{k}"] = float(np.abs(shown[:, None] - shown).mean() / (2 * shown.mean()))
        pairs = [(set(a), set(b)) for a, b in combinations(lists.values(), 2)]
        found[f"common_items@{k}"] = float(np.mean([len(a & b) / k for a, b in pairs]))
        found[f"jaccard@{k}"] = float(np.mean([len(a & b) / len(a | b) for a, b in pairs]))
    return found


PEERS: dict[str, Callable[[dict[str, Any]], dict[str, float]]] = {
    "rectools": of_rectools,
    "ranx": of_ranx,
    "pytrec_eval-terrier": of_pytrec_eval,
    "scikit-learn": of_scikit_learn,
    "numpy": of_numpy,
}


def placed_run(case: dict[str, Any]) -> dict[str, dict[str, float]]:
    """Return the lists with scores that say nothing but the rank: peers order by score, and ties in their own way."""
    return by_user((user, item, 1000.0 - rank) for user, item, rank, _ in case["lists"])


def by_user(rows) -> dict[str, dict[str, Any]]:
    """Return user -> item -> value of triples."""
    users: dict[str, dict[str, Any]] = {}
    for user, item, value in rows:
        users.setdefault(user, {})[item] = value
    return users


def main() -> None:
    """Parse, draw, ask the peers, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    out = parser.parse_args().out
    cases = {"random": complete(draw_case(11), 12), "hand_made": complete(HAND_MADE, 13)}
    for case in cases.values():
        case["expected"] = {peer: measure(case) for peer, measure in PEERS.items()}
    content = {"versions": {peer: version(peer) for peer in PEERS}, "ks": KS, "cases": cases}
    out.write_text(json.dumps(content, separators=(",", ":")).replace('"expected"', '\n"expected"') + "\n")


if __name__ == "__main__":
    main()
