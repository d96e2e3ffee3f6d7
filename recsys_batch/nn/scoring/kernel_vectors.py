"""Squared cosines as dot products: vectors that tell the near from the middling more sharply than cosines do.

A sum of squared cosines over a history ranks better than the cosine of its mean, for one close item counts for more
than several distant ones; but a mean vector knows no squares. Here the squares are made dot products of other vectors,
so that whatever works by dot product, and exact top-N, can have them: the kernel's largest components over a sample of
items (Nyström: Williams and Seeger, 2001). New items are mapped the same way.

Shapes: I items, S items of the sample, C width of the vectors, K components.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

_OVERSAMPLING, _ITERATIONS = 64, 3
_SMALLEST = 1e-6


@dataclass(frozen=True)
class SquaredCosines:
    """Maps unit vectors to others whose dot products are about the squared cosines, of negative ones as well: text
    vectors have hardly any.
    """

    sample_SC: Tensor
    projection_SK: Tensor

    @classmethod
    def fit(cls, sample_SC: Tensor, num_components: int, seed: int = 0) -> "SquaredCosines":
        """Find the components of a sample of unit vectors, by randomized SVD (Halko et al., 2011).

        Raises ValueError for fewer vectors than components.
        """
        if not 0 < num_components <= len(sample_SC):
            raise ValueError(f"{num_components} components of {len(sample_SC)} vectors; ask for 1 to their number")
        kernel_SS = _kernel(sample_SC, sample_SC)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            rank = min(len(sample_SC), num_components + _OVERSAMPLING)
            vectors_SK, values_K, _ = torch.svd_lowrank(kernel_SS, q=rank, niter=_ITERATIONS)
        vectors_SK, values_K = vectors_SK[:, :num_components], values_K[:num_components]
        # A component of no size would only be noise, magnified.
        roots_K = torch.where(values_K > _SMALLEST * values_K[0], values_K.rsqrt(), 0.0)
        return cls(sample_SC, vectors_SK * roots_K)

    def __call__(self, vectors_IC: Tensor) -> Tensor:
        """Return vectors (I, K) of length 1 or, where components were left out, a little less."""
        return _kernel(vectors_IC, self.sample_SC) @ self.projection_SK


def _kernel(first_IC: Tensor, second_SC: Tensor) -> Tensor:
    # Cutting negative cosines off first would leave a kernel that no vectors have.
    return (first_IC @ second_SC.T).square()
