"""Random numbers that are pure functions of their keys.

A draw depends on the seed, the name of what is drawn and the keys (a user, a session, a slot), never on what was drawn
before. So any range of users can be generated anywhere, in any order and in batches of any size, with equal results.
"""

import zlib
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]
HashArray = npt.NDArray[np.uint64]

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_FIRST = np.uint64(0xBF58476D1CE4E5B9)
_SECOND = np.uint64(0x94D049BB133111EB)


def mix(values: HashArray) -> HashArray:
    """Scramble 64-bit integers (the SplitMix64 finalizer): a bijection, so distinct inputs stay distinct."""
    values = (values ^ (values >> np.uint64(30))) * _FIRST
    values = (values ^ (values >> np.uint64(27))) * _SECOND
    return values ^ (values >> np.uint64(31))


def hashes(seed: int, name: str, *keys: npt.ArrayLike) -> HashArray:
    """Return one 64-bit hash for each broadcast combination of the keys."""
    state: HashArray = np.array([(seed * 0x100000001B3 + zlib.crc32(name.encode())) % 2**64], dtype=np.uint64)
    with np.errstate(over="ignore"):
        state = mix(state + _GOLDEN)
        for key in keys:
            state = mix((state + _GOLDEN) ^ (np.asarray(key, dtype=np.int64).astype(np.uint64) * _SECOND))
    return state


def uniform(seed: int, name: str, *keys: npt.ArrayLike) -> FloatArray:
    """Return numbers in [0, 1)."""
    return (hashes(seed, name, *keys) >> np.uint64(11)).astype(np.float64) * 2.0**-53


def integers(seed: int, name: str, bound: int | IntArray, *keys: npt.ArrayLike) -> IntArray:
    """Return integers in [0, bound)."""
    return (uniform(seed, name, *keys) * bound).astype(np.int64)


def normal(seed: int, name: str, *keys: npt.ArrayLike) -> FloatArray:
    """Return standard normal numbers (Box and Muller)."""
    radius = np.sqrt(-2.0 * np.log1p(-uniform(seed, name + "/radius", *keys)))
    angle: FloatArray = np.cos(2.0 * np.pi * uniform(seed, name + "/angle", *keys))
    return radius * angle


def gumbel(seed: int, name: str, *keys: npt.ArrayLike) -> FloatArray:
    """Return standard Gumbel numbers: adding them to scores and sorting samples a ranking."""
    inner: FloatArray = -np.log(uniform(seed, name, *keys) * (1 - 2e-16) + 1e-16)
    drawn: FloatArray = -np.log(inner)
    return drawn


def weighted(points: FloatArray, weights: Sequence[float] | FloatArray) -> IntArray:
    """Turn numbers in [0, 1) into indexes drawn with the given weights."""
    edges = np.cumsum(np.asarray(weights, dtype=np.float64))
    return np.minimum(np.searchsorted(edges / edges[-1], points, side="right"), len(edges) - 1).astype(np.int64)
