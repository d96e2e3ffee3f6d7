"""What next in Amazon's Industrial & Scientific: tuned encoder plus sequence model, as retrieval alone.

HR and NDCG at 3 and 10 on 4,533 published cases, over the whole catalog of 3,686 items, those of the history allowed
(2.8% of the targets are there). Trained here, on rows that are not `test`: the encoder from item to item, and over its
vectors a sequence model; and, against them, SASRec (RecTools), in an interpreter of its own that `--peer-python` names,
on the same rows and histories. The untuned encoder stands for what no training gives. All settings, of the peers too,
are chosen on the `valid` rows, predicted from `train` rows; then everything is trained on both, and the test cases are
read once. Differences come with paired bootstrap intervals. Results are kept below `--out`: a run goes on where it was.
"""

import argparse
import json
import logging
import sys
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from benchmarks.learning.amazon_data import Shop, load_shop  # noqa: E402
from benchmarks.learning.amazon_encoder import EncoderRecipe, tuned_vectors, untuned_vectors  # noqa: E402
from benchmarks.learning.amazon_peers import DEPTH, POWERS, by_cosine, popularity, sasrec  # noqa: E402
from benchmarks.learning.amazon_ranker import Candidates, rank_anew  # noqa: E402
from benchmarks.learning.amazon_sequence import choose_sequence, rank_cases, sharpen, train_sequences  # noqa: E402
from benchmarks.learning.amazon_store import Store, say  # noqa: E402
from recsys_batch.rules.metrics.paired_tests import paired_bootstrap, paired_permutation  # noqa: E402

OURS = "tuned encoder + sequence model"
NIGHT = "the published night's blend (docs/evaluation.md)"
PUBLISHED = {
    NIGHT: {"hr@3": 0.1125, "hr@10": 0.1727, "ndcg@10": 0.1139},
    "SASRec in arXiv 2510.24431": {"hr@3": 0.0790, "hr@10": 0.1088, "ndcg@3": 0.0700, "ndcg@10": 0.0806},
    "MiniOneRec (LLM), the same": {"hr@3": 0.1143, "hr@10": 0.1586, "ndcg@3": 0.1011, "ndcg@10": 0.1167},
}
"""For reference: not measured here, and so without intervals."""


def main() -> None:
    """Parse, train what is not there yet, compare, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--out", type=Path, default=ROOT / "lake" / "models" / "amazon")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--sequence-seeds", type=int, default=2, help="sequence models a half of the users, joined")
    parser.add_argument("--peer-python", type=Path, help="an interpreter with rectools[torch]; without it no SASRec")
    parser.add_argument("--ranker", action="store_true", help="also a ranking model over the first candidates")
    parser.add_argument("--ablation", action="store_true", help="also a sequence model over the untuned encoder")
    parser.add_argument(
        "--quick", action="store_true", help="a few steps of everything: whether it runs, not how good it is"
    )
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(message)s")
    torch.set_num_threads(options.threads)
    shop = load_shop(options.data)
    ranks, seconds = train_and_rank(shop, options)
    report(ranks, seconds)


def train_and_rank(shop: Shop, options: argparse.Namespace) -> tuple[dict[str, np.ndarray], dict[str, float]]:
    """Return the test ranks of every system, and the seconds that training ours took."""
    store = Store(options.out / "quick" if options.quick else options.out)
    ranks = {"popularity": popularity(shop)}
    plain_IC = untuned_vectors(shop, store, EncoderRecipe().max_tokens)
    for name, powers in (("untuned encoder", (1,)), ("untuned encoder, powers of cosines", POWERS)):
        ranks[name], facts = by_cosine(shop, plain_IC, plain_IC, powers)
        say(f"{name}: {facts}")
    recipe, valid_IC, taken = choose_encoder(shop, store, options)
    tuned_IC, taken["encoder"] = tuned_vectors(shop, shop.test, store, recipe, options.seed)
    ranks["tuned encoder alone"], _ = by_cosine(shop, valid_IC, tuned_IC, (1,))
    name = f"tuned-{recipe.key}"
    found, more = sequence_system(shop, valid_IC, tuned_IC, store, name, options)
    ranks |= {OURS if system == "retrieval" else OURS + ", ranked": rows for system, rows in found.items()}
    if options.ablation:
        found, _ = sequence_system(shop, plain_IC, plain_IC, store, "untuned", options)
        ranks["untuned encoder + sequence model"] = found["retrieval"]
    if options.peer_python:
        ranks["SASRec"], facts = sasrec(
            shop, store.folder, options.peer_python, options.seed, options.threads, options.quick
        )
        say(f"SASRec: {facts}")
    return ranks, taken | more


def choose_encoder(
    shop: Shop, store: Store, options: argparse.Namespace
) -> tuple[EncoderRecipe, Tensor, dict[str, float]]:
    """Return the recipe whose encoder, tuned on the train rows, is best alone on the valid part; its vectors; and the
    seconds of all that were tried.
    """
    recipes = [EncoderRecipe(max_steps=3)] if options.quick else [EncoderRecipe(hard=0), EncoderRecipe(hard=1)]
    tried, taken = [], {}
    for recipe in recipes:
        vectors_IC, taken[f"encoder, tried with {recipe.hard} mined"] = tuned_vectors(
            shop, shop.valid, store, recipe, options.seed
        )
        _, facts = by_cosine(shop, vectors_IC, vectors_IC, (1,))
        say(f"encoder tuned with {recipe.hard} mined negatives: {facts}")
        tried.append((facts["valid_hr@10"], recipe, vectors_IC))
    _, recipe, vectors_IC = max(tried, key=lambda row: row[0])
    return recipe, vectors_IC, taken


def sequence_system(
    shop: Shop, valid_IC: Tensor, test_IC: Tensor, store: Store, name: str, options: argparse.Namespace
) -> tuple[dict[str, np.ndarray], dict[str, float]]:
    """Return the test ranks of sequence models over an encoder's vectors, with `--ranker` also of their first
    candidates ranked anew; and the seconds.
    """
    valid_IC, test_IC = sharpen(valid_IC), sharpen(test_IC)
    recipe, _, choice = choose_sequence(shop, valid_IC, store, name, options.seed, options.quick)
    seeds = list(range(options.seed, options.seed + (1 if options.quick else options.sequence_seeds)))
    models, seconds = train_sequences(shop.test, test_IC, recipe, store, name, seeds)
    ranks = {"retrieval": rank_cases(shop.test, models, test_IC, DEPTH)}
    taken = {"sequence model, choice on the valid part": choice, "sequence models": seconds}
    if options.ranker and name != "untuned":
        valid_models, valid_seconds = train_sequences(shop.valid, valid_IC, recipe, store, name, seeds)
        both = (Candidates.of(shop.valid, valid_models, valid_IC), Candidates.of(shop.test, models, test_IC))
        ranks["ranked"], ranker_seconds = rank_anew(*both, store.folder / "ranker", options.seed)
        say(f"ranker: {valid_seconds + ranker_seconds:.0f} s beside the retrieval's")
    return ranks, taken


def report(ranks: dict[str, np.ndarray], seconds: dict[str, float]) -> None:
    """Print the table, a JSON line for each comparison of ours with a baseline, and the seconds."""
    names = [(f"{kind}@{k}", kind, k) for k in (3, 10) for kind in ("hr", "ndcg")]
    print(f"{'system':48s}" + "".join(f"{name:>9s}" for name, *_ in names))
    for system, ranks_N in ranks.items():
        means = [values_of(ranks_N, kind, k).mean() for _, kind, k in names]
        print(f"{system:48s}" + "".join(f"{mean:9.4f}" for mean in means))
    for system, figures in PUBLISHED.items():
        print(f"{system:48s}" + "".join(f"{figures[name]:9.4f}" if name in figures else " " * 9 for name, *_ in names))
    for system in (OURS, OURS + ", ranked"):
        for baseline in ranks:
            if system in ranks and not baseline.startswith(OURS):
                for _, kind, k in names:
                    print(json.dumps(compare(ranks, system, baseline, kind, k)), flush=True)
    minutes = sum(seconds.values()) / 60
    print(
        json.dumps(
            {"benchmark": "amazon", "minutes": round(minutes, 1), "seconds": {k: round(v) for k, v in seconds.items()}}
        )
    )


def compare(ranks: dict[str, np.ndarray], system: str, baseline: str, kind: str, k: int) -> dict[str, object]:
    """Return both means, the difference with its 95% interval, and the permutation test's p-value."""
    ours_N, theirs_N = values_of(ranks[system], kind, k), values_of(ranks[baseline], kind, k)
    gap = paired_bootstrap(ours_N - theirs_N)
    return {
        "benchmark": "amazon",
        "metric": f"{kind}@{k}",
        "system": system,
        "value": round(float(ours_N.mean()), 4),
        "baseline": baseline,
        "baseline_value": round(float(theirs_N.mean()), 4),
        "difference": [round(value, 4) for value in (gap.mean, gap.low, gap.high)],
        "p_value": round(paired_permutation(ours_N - theirs_N), 4),
        "ahead": gap.low > 0,
        "cases": len(ours_N),
    }


def values_of(ranks_N: np.ndarray, kind: str, k: int) -> np.ndarray:
    """Return hit (0 or 1) or discounted gain of every case; with one target a case their means are HR@k and NDCG@k."""
    hit_N = (ranks_N >= 1) & (ranks_N <= k)
    return np.where(hit_N, 1.0 if kind == "hr" else 1.0 / np.log2(np.maximum(ranks_N, 1) + 1.0), 0.0)


if __name__ == "__main__":
    main()
