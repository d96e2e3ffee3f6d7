"""The sequence model of `amazon.py`, over an encoder's vectors: its settings by the valid part, and its training."""

import dataclasses
import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from benchmarks.learning.amazon_data import Part, Shop, item_counts
from benchmarks.learning.amazon_store import Store, say
from recsys_batch.contracts.config.training import Loop, Optimizer
from recsys_batch.nn.scoring.kernel_vectors import SquaredCosines
from recsys_batch.nn.scoring.sequence_model import ItemTable, SequenceModel, SequenceShape
from recsys_batch.nn.scoring.user_models import (
    FixedUserModel,
    JoinedUserModel,
    load_sequence_model,
    save_sequence_model,
)
from recsys_batch.rules.metrics.ranking import hit_rate
from recsys_batch.training.loop.run import train
from recsys_batch.training.tasks.next_item import NextItemTask, Sequences
from recsys_batch.training.transitions import count_transitions, factorize_transitions

_MEMORY, _POPULARITY = (3.0, 5.0, 10.0), (0.3, 0.6, 1.0, 1.5)
_RATES, _EPOCHS = (3e-4, 1e-3), 4


@dataclass(frozen=True)
class SequenceRecipe:
    """What is chosen on the valid part."""

    memory_scale: float = 10.0
    """Factor of the counted transitions; that of the cosines is 15 at the start."""
    popularity: float = 0.3
    """Factor of log(1 + count) when served."""
    learning_rate: float = 3e-4
    epochs: int = 1


class HalvedTask(NextItemTask):
    """Learns from one half of the users, with a memory that is counted over the other half.

    A memory counted over the same sequences would have seen every answer, and nothing else would be learned beside it
    (stacking on held-out predictions: Wolpert, 1992). What is measured, and served, is the memory of all users.
    """

    def __init__(self, part: Part, vectors_IC: Tensor, recipe: SequenceRecipe, seed: int, half: int) -> None:
        """Make the model; `half` (0 or 1) is the one that is learned from."""
        num_items = len(vectors_IC)
        table, self.known_R = make_table(part, vectors_IC)
        counts_R = torch.from_numpy(item_counts(part.sequences, num_items)[self.known_R])
        shape = SequenceShape(
            vectors_IC.shape[1],
            len(counts_R),
            memory_dim=256,
            dropout=0.5,
            residual_dropout=0.5,
            popularity=recipe.popularity,
            training_popularity=0.3,
        )
        model = SequenceModel(shape, counts_R, seed)
        model.memory_in.requires_grad_(False)
        model.memory_out.requires_grad_(False)
        half_U = np.random.default_rng(seed).permutation(len(part.sequences)) % 2
        mine = [row for row, of in zip(part.sequences.items, half_U, strict=True) if of == half]
        others = [row for row, of in zip(part.sequences.items, half_U, strict=True) if of != half]
        super().__init__(model, table, Sequences(mine), part.cases, known_only=True)
        self._of_others = self._codes(others, recipe.memory_scale)
        self._of_all = self._codes(part.sequences.items, recipe.memory_scale)
        model.start_memory(*self._of_others)

    def evaluate(self) -> dict[str, float]:
        """Return the metrics with the memory of all users."""
        self.module.start_memory(*self._of_all)
        found = super().evaluate()
        self.module.start_memory(*self._of_others)
        return found

    def finish(self) -> SequenceModel:
        """Return the model as it is served."""
        self.module.start_memory(*self._of_all)
        return self.module.eval()

    def _codes(self, rows: list[np.ndarray], scale: float) -> list[Tensor]:
        strengths_RR = count_transitions(rows, len(self.table.content_IC))[np.ix_(self.known_R, self.known_R)]
        codes = factorize_transitions(strengths_RR, self.module.shape.memory_dim)
        return [scale**0.5 * side for side in codes]


def sharpen(vectors_IC: Tensor, num_components: int = 768) -> Tensor:
    """Return vectors whose dot products are about the squared cosines of these: the content the model is given."""
    return SquaredCosines.fit(vectors_IC, num_components)(vectors_IC)


def make_table(part: Part, vectors_IC: Tensor) -> tuple[ItemTable, np.ndarray]:
    """Return the items with a residual for each that occurs in the part's sequences, and which those are."""
    known_R = np.flatnonzero(item_counts(part.sequences, len(vectors_IC)))
    residual_I = np.full(len(vectors_IC), -1)
    residual_I[known_R] = np.arange(len(known_R))
    return ItemTable(vectors_IC, torch.from_numpy(residual_I)), known_R


def choose_sequence(
    shop: Shop, vectors_IC: Tensor, store: Store, vectors_name: str, seed: int, quick: bool
) -> tuple[SequenceRecipe, dict[str, float], float]:
    """Return the recipe that is best on the valid part, all HR@10 that were measured there, and the seconds.

    First the weights of memory and popularity before any training; then, from there, learning rate and epochs.
    """
    memory, rates, epochs = (_MEMORY[:1], _RATES[:1], 1) if quick else (_MEMORY, _RATES, _EPOCHS)
    grid = {"memory": memory, "popularity": _POPULARITY, "rates": rates, "epochs": epochs}

    def make(folder: Path) -> None:
        tried = {}
        for scale in memory:
            model = HalvedTask(shop.valid, vectors_IC, SequenceRecipe(scale), seed, 0).finish()
            for popularity in _POPULARITY:
                model.shape = dataclasses.replace(model.shape, popularity=popularity)
                hits = hit_rate(rank_cases(shop.valid, [model], vectors_IC, 10), 10)
                tried[SequenceRecipe(scale, popularity, epochs=0)] = hits
        start = max(tried, key=tried.__getitem__)
        for rate in rates:
            recipe = dataclasses.replace(start, learning_rate=rate, epochs=epochs)
            task = HalvedTask(shop.valid, vectors_IC, recipe, seed, 0)
            result = train([task], sequence_loop(recipe, seed), folder / "checkpoints", resume=False)
            for epoch, found in enumerate(result.evaluations, 1):
                tried[dataclasses.replace(recipe, epochs=epoch)] = found.metrics["next_item.hit_rate@10"]
        shutil.rmtree(folder / "checkpoints")
        rows = [{**dataclasses.asdict(recipe), "valid_hr@10": value} for recipe, value in tried.items()]
        (folder / "tried.json").write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")

    folder, seconds = store.keep("chosen", {"vectors": vectors_name, "seed": seed, **grid}, make)
    rows = json.loads((folder / "tried.json").read_text(encoding="utf-8"))
    values = {
        SequenceRecipe(**{k: v for k, v in row.items() if k != "valid_hr@10"}): row["valid_hr@10"] for row in rows
    }
    trained = {recipe: value for recipe, value in values.items() if recipe.epochs}
    best = max(trained, key=trained.__getitem__)
    untrained = max(value for recipe, value in values.items() if not recipe.epochs)
    say(f"{vectors_name}: valid HR@10 {untrained:.4f} before training, {trained[best]:.4f} by {best}")
    return best, {"untrained": untrained, "trained": trained[best]}, seconds


def train_sequences(
    part: Part, vectors_IC: Tensor, recipe: SequenceRecipe, store: Store, vectors_name: str, seeds: list[int]
) -> tuple[list[SequenceModel], float]:
    """Return a model a seed and half of the users, as they are served together, and the seconds of training."""
    models, total = [], 0.0
    for seed in seeds:
        for half in (0, 1):

            def make(folder: Path, seed: int = seed, half: int = half) -> None:
                task = HalvedTask(part, vectors_IC, recipe, seed, half)
                task.held_out = None
                train([task], sequence_loop(recipe, seed), folder / "checkpoints")
                shutil.rmtree(folder / "checkpoints")
                save_sequence_model(task.finish(), folder)

            made_by = {"vectors": vectors_name, "seed": seed, "half": half, **dataclasses.asdict(recipe)}
            folder, seconds = store.keep(f"sequence-{part.name}", made_by, make)
            models.append(load_sequence_model(folder))
            total += seconds
    return models, total


def rank_cases(part: Part, models: list[SequenceModel], vectors_IC: Tensor, k: int) -> np.ndarray:
    """Return the ranks of the part's targets by the models' mean score, among the first k."""
    joined = join_models(part, models, vectors_IC)
    return part.cases.ranks(joined.vectors(part.cases.histories), joined.item_vectors(), k)


def join_models(part: Part, models: list[SequenceModel], vectors_IC: Tensor) -> JoinedUserModel:
    """Return the models as one, over the items of the part."""
    table, _ = make_table(part, vectors_IC)
    return JoinedUserModel([FixedUserModel(model, table) for model in models])


def sequence_loop(recipe: SequenceRecipe, seed: int) -> Loop:
    """Return the settings of the sequence model's training; its runs are short and have no checkpoints between."""
    return Loop(
        seed=seed,
        epochs=recipe.epochs,
        batch_size=128,
        precision="bfloat16",
        checkpoint_every=10**9,
        optimizer=Optimizer(head_learning_rate=recipe.learning_rate, schedule="constant"),
    )
