from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys_batch.contracts.config.training import Loop, Optimizer
from recsys_batch.training.loop.sampling import Sampler, StepPlan, derive_seed


def deal_all(sampler: Sampler) -> list[StepPlan]:
    return [sampler.deal() for _ in range(sampler.num_steps)]


def test_an_epoch_of_one_task_holds_every_example_once_in_a_new_order() -> None:
    sampler = Sampler({"a": 11}, Loop(epochs=2, batch_size=2, optimizer=Optimizer(accumulate=2)))
    plans = deal_all(sampler)
    assert sampler.steps_per_epoch == 3
    assert [[len(batch) for batch in plan.batches] for plan in plans] == [[2, 2], [2, 2], [2, 1]] * 2
    first, second = (np.concatenate([np.concatenate(p.batches) for p in part]) for part in (plans[:3], plans[3:]))
    assert sorted(first) == sorted(second) == list(range(11))
    assert first.tolist() != second.tolist()


def test_steps_of_an_epoch_are_those_all_tasks_need() -> None:
    sizes = {"a": 11, "b": 4, "c": 1}
    # 3 + 1 + 1 steps of 2 x 2 examples.
    assert Sampler(sizes, Loop(epochs=4, batch_size=2, optimizer=Optimizer(accumulate=2))).num_steps == 5 * 4
    assert Sampler(sizes, Loop(epochs=4, batch_size=4, max_steps=7)).num_steps == 7


@pytest.mark.parametrize(
    ("how", "shares", "expected"),
    [
        ("proportional", {}, 0.9),
        ("square_root", {}, 3 / 4),
        ("uniform", {}, 0.5),
        ("uniform", {"big": 4.0}, 0.8),
        ("square_root", {"small": 3.0}, 3 / 6),
    ],
)
def test_tasks_are_drawn_by_their_size_and_share(how: str, shares: dict[str, float], expected: float) -> None:
    loop = Loop(epochs=200, batch_size=10, task_sampling=how, task_shares=shares)
    sampler = Sampler({"big": 90, "small": 10}, loop)
    drawn = Counter(plan.task for plan in deal_all(sampler))
    # 2,000 draws: the share's standard deviation is at most 0.011.
    assert drawn["big"] / 2000 == pytest.approx(expected, abs=0.05)


@settings(max_examples=40, deadline=None)
@given(
    sizes=st.dictionaries(st.sampled_from("abc"), st.integers(2, 30), min_size=1),
    step=st.integers(0, 40),
    batch_size=st.integers(1, 9),
    accumulate=st.integers(1, 3),
    num_ranks=st.integers(1, 2),
    seed=st.integers(0, 3),
)
def test_skipping_equals_dealing(sizes, step, batch_size, accumulate, num_ranks, seed) -> None:
    loop = Loop(epochs=1000, seed=seed, batch_size=batch_size * num_ranks, optimizer=Optimizer(accumulate=accumulate))
    dealt, skipped = Sampler(sizes, loop, num_ranks), Sampler(sizes, loop, num_ranks)
    for _ in range(step):
        dealt.deal()
    skipped.deal()
    skipped.skip_to(step)
    for _ in range(3):
        one, other = dealt.deal(), skipped.deal()
        assert (one.step, one.task) == (other.step, other.task)
        assert [batch.tolist() for batch in one.batches] == [batch.tolist() for batch in other.batches]
        # Every process gets an example of every batch.
        assert one.batches
        assert all(len(batch) >= num_ranks for batch in one.batches)


def test_seeds_differ_where_any_part_does() -> None:
    seeds = [derive_seed(*parts) for parts in [(0, "a", 1), (0, "a", 2), (1, "a", 1), (0, "b", 1), (0, "a1")]]
    assert len(set(seeds)) == len(seeds)
    assert all(0 <= seed < 2**63 for seed in seeds)
