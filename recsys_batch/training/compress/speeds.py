"""How fast encoders are beside each other: slice by slice in turns, so that a busy machine is equally busy for all."""

import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from recsys_batch.nn.encoder.encoder import Encoder

_SLICES = 8


@dataclass(frozen=True)
class Speed:
    """Throughput of one encoder in a comparison."""

    texts_per_second: float
    ratio: float
    """Median over the slices of how many times as fast as the first encoder it was."""


def compare_speeds(
    encoders: Mapping[str, Encoder], texts: Sequence[str], num_slices: int = _SLICES
) -> dict[str, Speed]:
    """Encode the texts with every encoder, in turns and every second time in the opposite order.

    Each encodes the first slice once before, uncounted: kernels are compiled then. Raises ValueError where there are
    fewer texts than slices.
    """
    if len(texts) < num_slices:
        raise ValueError(f"{len(texts)} texts cannot be cut into {num_slices} slices; give more texts")
    slices = [texts[start::num_slices] for start in range(num_slices)]
    names = list(encoders)
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for name in names:
        encoders[name].encode_documents(slices[0])
    for number, part in enumerate(slices):
        for name in names if number % 2 == 0 else reversed(names):
            started = time.perf_counter()
            encoders[name].encode_documents(part)
            seconds[name].append(time.perf_counter() - started)
    first = seconds[names[0]] if names else []
    return {
        name: Speed(
            texts_per_second=len(texts) / sum(taken),
            ratio=statistics.median(a / b for a, b in zip(first, taken, strict=True)),
        )
        for name, taken in seconds.items()
    }
