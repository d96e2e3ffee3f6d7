"""What becomes of a window of texts: its vectors, and on the way its token ids."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from torch import Tensor


@dataclass
class Encoded:
    """One row a text: its vector, or why it has none (then the vector is NaN)."""

    vectors_ND: NDArray[np.float32]
    reasons: dict[int, str] = field(default_factory=dict)


@dataclass
class Window:
    """Texts on their way through the network: `rows[i]` is where text i's vector goes."""

    encoded: Encoded
    rows: NDArray[np.int64]
    ids: list[list[int]]
    lengths_N: NDArray[np.int64]
    pending: list[tuple[NDArray[np.int64], Tensor]] = field(default_factory=list)
    """Vectors in pinned memory that an accelerator may still be writing."""
    errors: dict[int, BaseException] = field(default_factory=dict)
