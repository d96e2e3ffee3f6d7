"""What the trained models of `amazon.py` are compared with: SASRec, an encoder's cosines, popularity.

Each returns 1-based ranks of the cases' targets among the first `DEPTH` of the catalog, 0 beyond. What can be chosen is
chosen on the `valid` part.
"""

import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from benchmarks.learning.amazon_data import MAX_EVENTS, Part, Shop, item_counts
from recsys_batch.rules.metrics.ranking import hit_rate

DEPTH = 100
_EPOCHS = [5, 10, 20, 40, 60]
_SHARED = {"lr": 1e-3, "loss": "softmax", "batch_size": 128, "session_max_len": MAX_EVENTS, "deterministic": True}
SASREC_GRID = (
    {**_SHARED, "n_factors": 64, "n_blocks": 2, "n_heads": 1, "dropout_rate": 0.3},
    {**_SHARED, "n_factors": 128, "n_blocks": 1, "n_heads": 2, "dropout_rate": 0.5},
    {**_SHARED, "n_factors": 256, "n_blocks": 2, "n_heads": 4, "dropout_rate": 0.2},
    {**_SHARED, "n_factors": 128, "n_blocks": 2, "n_heads": 2, "dropout_rate": 0.3, "loss": "gBCE", "n_negatives": 256},
)
"""What SASRec is tried with; how many epochs is chosen besides."""
_DECAYS = (0.3, 0.5, 0.7, 1.0)
POWERS = (2, 4, 8)


def sasrec(shop: Shop, out: Path, python: Path, seed: int, threads: int, quick: bool) -> tuple[np.ndarray, dict]:
    """Return SASRec's ranks on the test part, with the settings and epochs that are best on the valid part, trained
    then on all rows that may be learned from; and what was found out on the way.
    """
    grid, epochs = (SASREC_GRID[:1], [1, 2]) if quick else (SASREC_GRID, _EPOCHS)
    tried = []
    for number, settings in enumerate(grid):
        runs = _run_sasrec(shop.valid, out / f"sasrec-valid-{number}", python, settings, epochs, seed, threads)
        for run in runs:
            value = hit_rate(_ranks_of_lists(shop.valid, run["top"]), 10)
            tried.append({"settings": settings, "epochs": run["epoch"], "hr10": value, "seconds": run["seconds"]})
        best = max(tried[-len(runs) :], key=lambda row: row["hr10"])
        print(f"SASRec {number}: valid HR@10 {best['hr10']:.4f} after {best['epochs']} epochs", file=sys.stderr)
    best = max(tried, key=lambda row: row["hr10"])
    name = f"sasrec-test-{grid.index(best['settings'])}-{best['epochs']}"
    [run] = _run_sasrec(shop.test, out / name, python, best["settings"], [best["epochs"]], seed, threads)
    facts = {"valid_hr@10": best["hr10"], "chosen": {**best["settings"], "epochs": best["epochs"]}}
    return _ranks_of_lists(shop.test, run["top"]), facts | {"seconds": round(run["seconds"])}


def _run_sasrec(
    part: Part, folder: Path, python: Path, settings: dict, epochs: list[int], seed: int, threads: int
) -> list[dict]:
    """Return what `sasrec_peer.py` writes, from the folder where the same was run before."""
    wanted = {**settings, "epochs": epochs, "seed": seed, "k": DEPTH, "threads": threads}
    file = folder / "top.json"
    if not file.is_file() or json.loads((folder / "settings.json").read_text(encoding="utf-8")) != wanted:
        folder.mkdir(parents=True, exist_ok=True)
        file.unlink(missing_ok=True)
        sequences = [row.tolist() for row in part.sequences.items]
        for name, content in (("sequences", sequences), ("histories", part.histories), ("settings", wanted)):
            (folder / f"{name}.json").write_text(json.dumps(content), encoding="utf-8")
        started = time.monotonic()
        peer = Path(__file__).with_name("sasrec_peer.py")
        done = subprocess.run([python, peer, folder], capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"SASRec in {folder} failed; {python} needs rectools[torch]:\n{done.stderr[-2000:]}")
        print(f"{folder.name}: {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)
    return json.loads(file.read_text(encoding="utf-8"))


def _ranks_of_lists(part: Part, top: list[list[int]]) -> np.ndarray:
    targets = part.cases.targets_N.tolist()
    return np.array([row.index(item) + 1 if item in row else 0 for row, item in zip(top, targets, strict=True)])


def by_cosine(shop: Shop, valid_IC: Tensor, test_IC: Tensor, powers: tuple[int, ...]) -> tuple[np.ndarray, dict]:
    """Return the test ranks by an encoder's vectors alone, in the form that is best on the valid part.

    A score is the sum over the history of a power of the cosine, each older event weighing `decay` of the next. With
    power 1 that is the cosine of one history vector: the mean, or one with newer items heavier.
    """
    forms = [(decay, power) for decay in _DECAYS for power in powers]
    hits = [hit_rate(_ranks_by_cosine(shop.valid, valid_IC, *form), 10) for form in forms]
    decay, power = forms[int(np.argmax(hits))]
    facts = {"valid_hr@10": round(max(hits), 4), "chosen": {"decay": decay, "power": power}}
    return _ranks_by_cosine(shop.test, test_IC, decay, power), facts


def _ranks_by_cosine(part: Part, vectors_IC: Tensor, decay: float, power: int) -> np.ndarray:
    """Return ranks by dense scores; of like scores the item that comes first is first."""
    likeness_II = (vectors_IC @ vectors_IC.T).clamp(min=0.0 if power > 1 else -1.0) ** power
    scores_NI = torch.sparse.mm(recency_weights(part, len(vectors_IC), decay).to_sparse(), likeness_II)
    targets_N1 = torch.from_numpy(part.cases.targets_N)[:, None]
    wanted_N1 = scores_NI.gather(1, targets_N1)
    is_before_NI = torch.arange(len(vectors_IC)) < targets_N1
    ranks_N = 1 + (scores_NI > wanted_N1).sum(1) + ((scores_NI == wanted_N1) & is_before_NI).sum(1)
    return torch.where(ranks_N <= DEPTH, ranks_N, 0).numpy()


def recency_weights(part: Part, num_items: int, decay: float) -> Tensor:
    """Return (N, I): what each item of a case's history weighs, 1 for the newest event; events of one item add up."""
    items_NL = part.cases.histories.items_BL
    mask_NL = items_NL >= 0
    age_NL = mask_NL.sum(1, keepdim=True) - 1 - torch.arange(items_NL.shape[1])
    weights_NL = (decay ** age_NL.clamp(min=0).float()) * mask_NL
    return torch.zeros(len(items_NL), num_items).scatter_add_(1, items_NL.clamp(min=0), weights_NL)


def popularity(shop: Shop) -> np.ndarray:
    """Return the test ranks of the items that occur most often in what may be learned from."""
    counts_I = torch.from_numpy(item_counts(shop.test.sequences, len(shop.item_ids))).float()
    return shop.test.cases.ranks(torch.ones(len(shop.test.cases.targets_N), 1), counts_I[:, None], DEPTH)
