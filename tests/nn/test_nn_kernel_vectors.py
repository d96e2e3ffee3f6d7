"""Vectors for squared cosines against the squares themselves."""

import pytest
import torch
from torch.nn import functional

from recsys_batch.nn.scoring.kernel_vectors import SquaredCosines


def make_vectors(count: int, seed: int, width: int = 6) -> torch.Tensor:
    return functional.normalize(torch.rand(count, width, generator=torch.Generator().manual_seed(seed)) - 0.2, dim=1)


def test_with_all_components_they_are_exact_on_the_sample() -> None:
    vectors_IC = make_vectors(40, 0)
    mapped_IK = SquaredCosines.fit(vectors_IC, 40)(vectors_IC)
    wanted_II = (vectors_IC @ vectors_IC.T) ** 2
    torch.testing.assert_close(mapped_IK @ mapped_IK.T, wanted_II, rtol=0, atol=2e-3)


def test_new_items_are_near_when_the_sample_spans_the_squares() -> None:
    # In three dimensions squared cosines have 3 * 4 / 2 = 6 components.
    sample_SC, new_IC = make_vectors(50, 1, 3), make_vectors(9, 2, 3)
    squares = SquaredCosines.fit(sample_SC, 6)
    torch.testing.assert_close(squares(new_IC) @ squares(sample_SC).T, (new_IC @ sample_SC.T) ** 2, rtol=0, atol=2e-3)


def test_fewer_components_keep_lengths_below_one() -> None:
    vectors_IC = make_vectors(60, 3)
    lengths = [float(SquaredCosines.fit(vectors_IC, count)(vectors_IC).norm(dim=1).mean()) for count in (5, 20, 60)]
    assert lengths[0] < lengths[1] <= lengths[2] + 1e-3
    assert lengths[2] == pytest.approx(1.0, abs=5e-3)


@pytest.mark.parametrize("count", [0, 5])
def test_more_components_than_vectors_are_refused(count: int) -> None:
    with pytest.raises(ValueError, match="components"):
        SquaredCosines.fit(make_vectors(4, 0), count)
