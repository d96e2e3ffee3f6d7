"""Learning the next item: what a batch holds, what the loss is, and that it learns."""

import dataclasses
import math
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional

from recsys_batch.contracts.config.training import Loop, Optimizer
from recsys_batch.nn.scoring.sequence_model import ItemTable, SequenceModel, SequenceShape
from recsys_batch.training.examples.columns import ExamplesMismatchError
from recsys_batch.training.loop.run import train
from recsys_batch.training.tasks.next_item import NextItemInputs, NextItemTask, Sequences, cases_of

NUM_ITEMS, WIDTH = 8, 5


def make_table(num_known: int = NUM_ITEMS) -> ItemTable:
    content_IC = functional.normalize(torch.randn(NUM_ITEMS, WIDTH, generator=torch.Generator().manual_seed(0)), dim=1)
    rows = torch.arange(NUM_ITEMS)
    return ItemTable(content_IC, torch.where(rows < num_known, rows, -1))


def make_task(sequences: Sequences, num_known: int = NUM_ITEMS, dim: int = 16, **options: object) -> NextItemTask:
    shape = SequenceShape(
        WIDTH, num_known, dim=dim, dropout=0.0, residual_dropout=0.0, content_scale=1.0, num_events=2, popularity=0.0
    )
    return NextItemTask(SequenceModel(shape), make_table(num_known), sequences, **options)  # type: ignore[arg-type]


def cycle(start: int, length: int) -> np.ndarray:
    """A user who goes through the catalog in steps of three."""
    return (start + 3 * np.arange(length)) % NUM_ITEMS


def test_a_batch_is_a_stretch_and_what_follows_each_event() -> None:
    sequences = Sequences(
        [np.array([5]), np.array([1, 2, 3]), np.array([], dtype=np.int64), cycle(0, 9)],
        [np.zeros(1, int), np.array([0, 1, 0]), np.zeros(0, int), np.zeros(9, int)],
        [np.zeros(1), np.array([0.0, 7.0, 9.0]), np.zeros(0), np.arange(9.0)],
    )
    task = make_task(sequences, max_events=4)
    assert len(task) == 1 + 2  # the long one stands for two stretches, the lonely and the empty one for none
    batch = task.make_batch(np.arange(3), np.random.default_rng(0))
    inputs: NextItemInputs = batch.inputs
    assert inputs.histories.items_BL[0].tolist() == [1, 2, -1, -1]
    assert inputs.histories.events_BL[0, :2].tolist() == [0, 1]
    assert inputs.histories.gaps_BL[0, :2].tolist() == [0.0, 7.0]
    assert inputs.targets_BL[0].tolist() == [2, 3, -1, -1]
    assert batch.count == 2 + 4 + 4
    for row in (1, 2):
        start = cycle(0, 9).tolist().index(inputs.histories.items_BL[row, 0])
        assert inputs.histories.items_BL[row].tolist() == cycle(0, 9)[start : start + 4].tolist()
        assert inputs.targets_BL[row].tolist() == cycle(0, 9)[start + 1 : start + 5].tolist()


def test_dropped_events_leave_their_time_behind() -> None:
    gaps = np.array([3.0, 1.0, 2.0, 4.0, 8.0, 16.0])
    task = make_task(Sequences([cycle(0, 6)], None, [gaps]), drop_events=0.5)
    place = {int(item): index for index, item in enumerate(cycle(0, 6))}
    lengths = set()
    for seed in range(20):
        inputs: NextItemInputs = task.make_batch(np.array([0]), np.random.default_rng(seed)).inputs
        items = inputs.histories.items_BL[0].tolist()
        places = [place[item] for item in items]
        lengths.add(len(places))
        assert places == sorted(set(places))
        passed = [gaps[first + 1 : second + 1].sum() for first, second in pairwise(places)]
        assert inputs.histories.gaps_BL[0].tolist() == [0.0, *passed]
    assert len(lengths) > 1


def test_an_untrained_loss_is_the_softmax_of_the_cosines() -> None:
    task = make_task(Sequences([np.array([1, 2])]))
    batch = task.make_batch(np.array([0]), np.random.default_rng(0))
    cosines = (task.table.content_IC @ task.table.content_IC[1]).tolist()
    wanted = math.log(sum(map(math.exp, cosines))) - cosines[2]
    assert task.loss(task.outputs(batch), batch).item() == pytest.approx(wanted, abs=1e-5)


def test_known_only_leaves_out_what_no_sequence_holds() -> None:
    sequences = Sequences([np.array([1, 2, 4]), np.array([6])])
    task = make_task(sequences, known_only=True)
    batch = task.make_batch(np.array([0]), np.random.default_rng(0))
    content = task.table.content_IC
    # The newest event counts 1, the one before half: what follows the second is told from both.
    wanted = 0.0
    for history, target in ((content[1], 2), (content[2] + content[1] / 2, 4)):
        scores = {item: float(history @ content[item]) for item in (1, 2, 4, 6)}
        wanted += math.log(sum(map(math.exp, scores.values()))) - scores[target]
    assert task.loss(task.outputs(batch), batch).item() == pytest.approx(wanted, abs=1e-5)
    drawing = make_task(sequences, known_only=True, num_negatives=100)
    drawn = drawing.make_batch(np.array([0]), np.random.default_rng(0)).inputs.negatives_K
    assert set(drawn.tolist()) == {1, 2, 4, 6}


def test_drawn_negatives_never_include_the_target() -> None:
    task = make_task(Sequences([np.array([1, 2])]), num_negatives=200)
    batch = task.make_batch(np.array([0]), np.random.default_rng(0))
    drawn = batch.inputs.negatives_K.tolist()
    assert 2 in drawn
    cosines = (task.table.content_IC @ task.table.content_IC[1]).tolist()
    total = math.exp(cosines[2]) + sum(math.exp(cosines[item]) for item in drawn if item != 2)
    assert task.loss(task.outputs(batch), batch).item() == pytest.approx(math.log(total) - cosines[2], abs=1e-4)


@pytest.mark.parametrize("num_negatives", [0, 5])
def test_a_cycle_is_learned(tmp_path: Path, num_negatives: int) -> None:
    sequences = Sequences([cycle(start, 6) for start in range(NUM_ITEMS)])
    cases = cases_of(sequences, 10, [1] * NUM_ITEMS, k=1)
    task = make_task(sequences, held_out=cases, num_negatives=num_negatives)
    untrained = task.evaluate()["hit_rate@1"]
    settings = Loop(epochs=60, batch_size=8, optimizer=Optimizer(head_learning_rate=0.03, weight_decay=0.0))
    train([task], settings, tmp_path)
    assert untrained < 0.5
    assert task.evaluate() == {"hit_rate@1": 1.0, "ndcg@1": 1.0}


def test_cases_are_the_events_from_a_place_on() -> None:
    sequences = Sequences([np.array([0, 1, 2, 3]), np.array([4, 5])])
    cases = cases_of(sequences, 2, [3, 0])
    assert cases.histories.items_BL.tolist() == [[1, 2], [4, -1]]
    assert cases.targets_N.tolist() == [3, 5]
    # Users at (1, 0) and (0, 1): item 3 is second for the first, item 5 beyond the second place for the other.
    items_IV = torch.tensor([[0.0, 0.0], [0.0, 3.0], [9.0, 2.0], [5.0, 0.0], [0.0, 1.0], [0.0, 0.5]])
    assert cases.ranks(torch.eye(2), items_IV, k=2).tolist() == [2, 0]


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ExamplesMismatchError, match=f"sequence 1 names item {NUM_ITEMS}"):
        make_task(Sequences([np.array([1, 2]), np.array([3, NUM_ITEMS])]))
    with pytest.raises(ExamplesMismatchError, match="item -1"):
        make_task(Sequences([np.array([-1, 2])]))
    with pytest.raises(ExamplesMismatchError, match="gaps"):
        Sequences([np.array([1, 2])], None, [np.array([0.0])])


def test_divergence_is_zero_for_like_passes_alone() -> None:
    task = make_task(Sequences([cycle(0, 5)]))
    task.module.shape = dataclasses.replace(task.module.shape, residual_dropout=0.5)
    task.module.train()
    with torch.no_grad():
        task.module.residual_out += torch.randn(NUM_ITEMS, 16, generator=torch.Generator().manual_seed(1))
    batch = task.make_batch(np.array([0]), np.random.default_rng(0))
    torch.manual_seed(0)
    first, second = task.outputs(batch), task.outputs(batch)
    assert task.divergence(first, first, batch).item() == 0.0
    assert task.divergence(first, second, batch).item() > 0.0
