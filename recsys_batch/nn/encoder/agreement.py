"""How near a cheaper way of computing vectors comes to the exact one over `sample_texts`, and whether that suffices."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recsys_batch.contracts.errors import ConfigError
from recsys_batch.nn.encoder.sample_texts import sample_texts
from recsys_batch.nn.encoder.settings import EncoderSettings

Encode = Callable[[Sequence[str]], NDArray[np.float32]]
"""From texts to their vectors (N, D), NaN for a text that has none."""

_SHOWN_CHARACTERS = 40


class CosineTooLowError(ConfigError):
    """The configured backend changes the directions of this model's vectors by more than the config allows."""


@dataclass(frozen=True)
class Agreement:
    """The lowest cosine between two vectors of one text, and that text."""

    lowest_cosine: float
    text: str
    num_texts: int

    def require(self, settings: EncoderSettings) -> None:
        """Raise CosineTooLowError, saying what to do, where the lowest cosine is below `settings.min_cosine`."""
        if self.lowest_cosine >= settings.min_cosine:
            return
        nearer = "" if settings.dtype == "bfloat16" else "encoder.dtype to bfloat16 (which leaves activations floats), "
        shown = self.text if len(self.text) <= _SHOWN_CHARACTERS else self.text[:_SHOWN_CHARACTERS] + "..."
        raise CosineTooLowError(
            f"encoder.backend {settings.backend}: the lowest cosine with float32 vectors over {self.num_texts} sample "
            f"texts is {self.lowest_cosine:.5f} (text {shown!r}), below encoder.min_cosine {settings.min_cosine}; set "
            f"{nearer}encoder.backend to openvino or torch, or encoder.min_cosine lower where such vectors will do"
        )


def measure_agreement(encode: Encode, exact: Encode, texts: Iterable[str] | None = None) -> Agreement:
    """Return how far `encode` is from `exact` over `texts` (default: `sample_texts`).

    A text that has an exact vector and no other counts as a cosine of -1; one without an exact vector, or whose exact
    vector is zero, tells nothing. Raises ValueError where that leaves no text.
    """
    chosen = list(sample_texts() if texts is None else texts)
    exact_ND = exact(chosen).astype(np.float64)
    made_ND = encode(chosen).astype(np.float64)
    length_N = np.linalg.norm(exact_ND, axis=1)
    told = np.flatnonzero(np.isfinite(length_N) & (length_N > 0))
    if not told.size:
        raise ValueError(f"none of {len(chosen)} sample texts has a vector to compare with")
    lengths_M = length_N[told] * np.maximum(np.linalg.norm(made_ND[told], axis=1), np.finfo(np.float64).tiny)
    cosine_M = np.nan_to_num((exact_ND[told] * made_ND[told]).sum(axis=1) / lengths_M, nan=-1.0)
    worst = int(cosine_M.argmin())
    return Agreement(float(cosine_M[worst]), chosen[told[worst]], len(told))
