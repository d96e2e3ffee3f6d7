"""The next item of a history: a softmax over the catalog, or over the target and drawn items, after every event."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from recsys_batch.nn.learning.contrastive import softmax_divergence
from recsys_batch.nn.scoring.sequence_model import Histories, ItemTable, SequenceModel
from recsys_batch.nn.scoring.topk import ItemBlock, exact_topk
from recsys_batch.nn.scoring.user_models import FixedUserModel
from recsys_batch.rules.metrics.ranking import hit_rate, ndcg
from recsys_batch.training.examples.columns import ExamplesMismatchError
from recsys_batch.training.loop.task import TaskBatch


@dataclass(frozen=True)
class Sequences:
    """Events of users, oldest first: rows of the item table, event types, seconds since the event before."""

    items: Sequence[NDArray[np.int64]]
    events: Sequence[NDArray[np.int64]] | None = None
    gaps: Sequence[NDArray[np.float32]] | None = None

    def __post_init__(self) -> None:
        """Raise ExamplesMismatchError where a user's columns have different lengths."""
        for name, column in (("events", self.events), ("gaps", self.gaps)):
            if column is not None and [len(row) for row in column] != [len(row) for row in self.items]:
                raise ExamplesMismatchError(f"{name} and items of the sequences have different lengths")

    def __len__(self) -> int:
        """Return the number of users."""
        return len(self.items)

    def gather(self, places: Sequence[tuple[int, NDArray[np.int64]]]) -> Histories:
        """Return some events of some users, each given by its sequence and its places there, as one padded batch."""
        length = max((len(chosen) for _, chosen in places), default=0) or 1
        items_BL = torch.full((len(places), length), -1, dtype=torch.int64)
        events_BL = torch.zeros((len(places), length), dtype=torch.int64)
        gaps_BL = torch.zeros((len(places), length))
        for row, (user, chosen) in enumerate(places):
            if not len(chosen):
                continue
            items_BL[row, : len(chosen)] = torch.from_numpy(np.asarray(self.items[user])[chosen])
            if self.events is not None:
                events_BL[row, : len(chosen)] = torch.from_numpy(np.asarray(self.events[user])[chosen])
            if self.gaps is not None:
                # Where events between were left out, their time has passed all the same.
                passed = np.cumsum(np.asarray(self.gaps[user], dtype=np.float64))[chosen]
                gaps_BL[row, : len(chosen)] = torch.from_numpy(np.diff(passed, prepend=passed[0])).float()
        return Histories(items_BL, events_BL, gaps_BL)


@dataclass(frozen=True)
class NextItemCases:
    """Histories and what came next, a row of the item table each."""

    histories: Histories
    targets_N: NDArray[np.int64]
    k: int = 10

    def ranks(self, users_NV: Tensor, items_IV: Tensor, k: int | None = None) -> NDArray[np.int64]:
        """Return the 1-based place of each target among the first k of the catalog; 0 where it is not there."""
        top_NK = exact_topk(users_NV, [ItemBlock(0, items_IV)], k or self.k).indices_QK.cpu().numpy()
        hit_NK = top_NK == self.targets_N[:, None]
        return np.where(hit_NK.any(1), hit_NK.argmax(1) + 1, 0)


@dataclass(frozen=True)
class NextItemInputs:
    """Histories, the item after each event (-1: none), and items that every event is scored against (all: None)."""

    histories: Histories
    targets_BL: Tensor
    negatives_K: Tensor | None


class NextItemTask:
    """Trains a sequence model; `evaluate` ranks the whole catalog for the held-out cases."""

    def __init__(
        self,
        model: SequenceModel,
        table: ItemTable,
        sequences: Sequences,
        held_out: NextItemCases | None = None,
        *,
        max_events: int = 10,
        drop_events: float = 0.0,
        label_smoothing: float = 0.0,
        num_negatives: int = 0,
        known_only: bool = False,
        name: str = "next_item",
    ) -> None:
        """Learn from every sequence of two events or more.

        Of a long one each epoch reads a random stretch of `max_events` + 1; `drop_events` is the share of its events
        that a random half of the sequences loses (augmentation). `num_negatives` items are drawn for each batch, 0:
        the softmax runs over the whole catalog. `known_only`: over the items of the sequences alone, of which the
        negatives are drawn then; others are never right here, and would be learned to be wrong by what their texts
        have in common.

        Raises ExamplesMismatchError for a sequence that names an item outside the table.
        """
        _check_items(sequences, len(table.content_IC))
        self.name = name
        self.module = model
        self.table = table
        self.sequences = sequences
        self.held_out = held_out
        self.max_events, self.drop_events = max_events, drop_events
        self.label_smoothing, self.num_negatives = label_smoothing, num_negatives
        self._choices_J = np.arange(len(table.content_IC))
        if known_only:
            self._choices_J = np.unique(np.concatenate([*sequences.items, np.empty(0, np.int64)]))
        self._users = [user for user, row in enumerate(sequences.items) if len(row) > 1]
        # A long sequence stands for as many examples as it has stretches.
        self._examples = np.repeat(
            self._users, [-(-(len(sequences.items[user]) - 1) // max_events) for user in self._users]
        ).astype(np.int64)

    def __len__(self) -> int:
        """Return the number of stretches."""
        return len(self._examples)

    def start_epoch(self, epoch: int) -> None:
        """Nothing to prepare."""

    def make_batch(self, indices: NDArray[np.int64], rng: np.random.Generator) -> TaskBatch:
        """Return a stretch of each of these sequences, and negatives."""
        places = [(int(user), self._stretch(len(self.sequences.items[user]), rng)) for user in self._examples[indices]]
        histories = self.sequences.gather([(user, chosen[:-1]) for user, chosen in places])
        targets_BL = self.sequences.gather([(user, chosen[1:]) for user, chosen in places]).items_BL
        negatives_K = None
        if self.num_negatives:
            negatives_K = torch.from_numpy(rng.choice(self._choices_J, self.num_negatives))
        count = int((targets_BL >= 0).sum())
        return TaskBatch(NextItemInputs(histories, targets_BL, negatives_K), count, count)

    def outputs(self, batch: TaskBatch) -> Tensor:
        """Return logits of the predicted events: against all that is chosen from (N, J), or target first, then
        negatives.
        """
        inputs: NextItemInputs = batch.inputs
        device = next(self.module.parameters()).device
        states_BLV, items_IV = self.module.scored(inputs.histories.to(device), self.table.to(device))
        targets_BL = inputs.targets_BL.to(device)
        states_NV, targets_N = states_BLV[targets_BL >= 0], targets_BL[targets_BL >= 0]
        if inputs.negatives_K is None:
            return states_NV @ items_IV[torch.from_numpy(self._choices_J).to(device)].T
        negatives_K = inputs.negatives_K.to(device)
        right_N1 = (states_NV * items_IV[targets_N]).sum(1, keepdim=True)
        wrong_NK = (states_NV @ items_IV[negatives_K].T).masked_fill(negatives_K == targets_N[:, None], -1e4)
        return torch.cat([right_N1, wrong_NK], dim=1)

    def loss(self, outputs: Tensor, batch: TaskBatch) -> Tensor:
        """Return the sum of the cross-entropies of the items that came next."""
        inputs: NextItemInputs = batch.inputs
        targets_N = inputs.targets_BL[inputs.targets_BL >= 0].to(outputs.device)
        labels_N = torch.zeros_like(targets_N)
        if inputs.negatives_K is None:
            labels_N = torch.searchsorted(torch.from_numpy(self._choices_J).to(outputs.device), targets_N)
        return functional.cross_entropy(
            outputs.float(), labels_N, reduction="sum", label_smoothing=self.label_smoothing
        )

    def divergence(self, first: Tensor, second: Tensor, batch: TaskBatch) -> Tensor:  # noqa: ARG002
        """Return how far apart the two passes' distributions are, summed over the predicted events."""
        return softmax_divergence(first.float(), second.float(), 1.0)

    def evaluate(self) -> dict[str, float]:
        """Return `hit_rate@k` and `ndcg@k` of the held-out cases over the whole catalog."""
        if self.held_out is None:
            return {}
        model = FixedUserModel(self.module, self.table)
        ranks_N = self.held_out.ranks(model.vectors(self.held_out.histories), model.item_vectors())
        k = self.held_out.k
        return {f"hit_rate@{k}": hit_rate(ranks_N, k), f"ndcg@{k}": ndcg(ranks_N, k)}

    def _stretch(self, length: int, rng: np.random.Generator) -> NDArray[np.int64]:
        start = int(rng.integers(max(1, length - self.max_events)))
        chosen = np.arange(start, min(length, start + self.max_events + 1))
        if self.drop_events and len(chosen) > 2 and rng.random() < 0.5:
            kept = chosen[rng.random(len(chosen)) >= self.drop_events]
            chosen = kept if len(kept) > 1 else chosen
        return chosen


def cases_of(sequences: Sequences, max_events: int, first: Sequence[int], k: int = 10) -> NextItemCases:
    """Return a case for every event from place `first[user]` on (the first event has nothing before it): the
    `max_events` before it, and it.
    """
    places = [
        (user, np.arange(max(0, place - max_events), place), int(row[place]))
        for user, row in enumerate(sequences.items)
        for place in range(max(1, first[user]), len(row))
    ]
    histories = sequences.gather([(user, chosen) for user, chosen, _ in places])
    return NextItemCases(histories, np.array([target for *_, target in places], dtype=np.int64), k)


def _check_items(sequences: Sequences, num_items: int) -> None:
    for user, row in enumerate(sequences.items):
        for item in row:
            if not 0 <= item < num_items:
                raise ExamplesMismatchError(
                    f"sequence {user} names item {item}; the table has rows 0 to {num_items - 1}, build both from the "
                    "same catalog"
                )
