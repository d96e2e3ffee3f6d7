import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys_batch.nn.encoder.batching import length_ladder, plan_batches

LENGTHS = st.lists(st.integers(1, 300), max_size=200)


@given(lengths=LENGTHS, budget=st.integers(1, 5000))
def test_every_text_is_in_one_batch_within_the_budget(lengths, budget):
    ladder = length_ladder(300)
    batches = plan_batches(lengths, budget, ladder)

    placed = [int(index) for batch in batches for index in batch.indices]
    assert sorted(placed) == list(range(len(lengths)))
    for batch in batches:
        longest = max(lengths[index] for index in batch.indices)
        assert batch.padded_length in ladder
        assert longest <= batch.padded_length
        assert len(batch.indices) * batch.padded_length <= budget or len(batch.indices) == 1


@given(lengths=LENGTHS)
def test_padding_never_doubles_a_batch(lengths):
    for batch in plan_batches(lengths, 4096, length_ladder(300)):
        assert all(2 * lengths[index] >= batch.padded_length for index in batch.indices[1:])


@given(lengths=LENGTHS, budget=st.integers(1, 5000))
def test_batches_come_longest_first(lengths, budget):
    placed = [lengths[i] for batch in plan_batches(lengths, budget, length_ladder(300)) for i in batch.indices]
    assert placed == sorted(lengths, reverse=True)


@given(max_tokens=st.integers(1, 9000))
def test_the_ladder_rises_to_its_last_rung(max_tokens):
    ladder = length_ladder(max_tokens)
    assert ladder[-1] == max_tokens
    assert list(ladder) == sorted(set(ladder))


def test_the_ladder_of_the_default_length():
    assert length_ladder(128) == (8, 16, 32, 48, 64, 80, 96, 112, 128)


@pytest.mark.parametrize(("lengths", "budget"), [([0], 10), ([33], 10), ([5], 0)])
def test_lengths_and_budgets_out_of_range_are_refused(lengths, budget):
    with pytest.raises(ValueError, match=r"must"):
        plan_batches(np.array(lengths), budget, length_ladder(32))
