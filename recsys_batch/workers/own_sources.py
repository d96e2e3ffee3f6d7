"""Candidate sources that a shop brings itself: functions named in the config, found by import.

A source takes the `Scores` of P profiles, through which it sees their acts, the item index and the evidence, and
returns a sparse matrix (P, I): how much speaks for each item, 0 for what it does not propose. Its text `reason`, where
it has one, is what shoppers read.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from importlib import import_module

import numpy as np
import scipy.sparse as sp

from recsys_batch.contracts.columns import CANDIDATE_SOURCES
from recsys_batch.contracts.errors import ConfigError
from recsys_batch.workers.features import Scores

OwnSource = Callable[[Scores], sp.csr_array]


def own_names(specs: Sequence[str]) -> tuple[str, ...]:
    """Return the names of the shop's own sources: those of their functions."""
    return tuple(spec.partition(":")[2] for spec in specs)


def names_of(specs: Sequence[str]) -> tuple[str, ...]:
    """Return the names of all sources in the order of their bits, the shop's own behind ours."""
    return (*CANDIDATE_SOURCES, *own_names(specs))


@lru_cache(maxsize=4)
def load_sources(specs: tuple[str, ...]) -> Mapping[str, OwnSource]:
    """Return the functions of `MODULE:FUNCTION` by their names. Raises ConfigError for one that is not there."""
    found: dict[str, OwnSource] = {}
    for spec, name in zip(specs, own_names(specs), strict=True):
        module = spec.partition(":")[0]
        try:
            source = getattr(import_module(module), name)
        except (ImportError, AttributeError) as error:
            raise ConfigError(
                f"ranker.sources: {spec}: {error}; the module must lie on the Python path of driver and executors "
                "(PYTHONPATH, or spark-submit --py-files)"
            ) from error
        if not callable(source):
            raise ConfigError(f"ranker.sources: {spec}: {type(source).__name__} is no function")
        found[name] = source
    return found


def scores_of_own(specs: Sequence[str], scores: Scores) -> dict[str, sp.csr_array]:
    """Return what the shop's own sources give for the profiles, by name.

    Raises ConfigError for a source that returns anything but finite scores of all profiles and items.
    """
    made = {}
    for name, source in load_sources(tuple(specs)).items():
        given = sp.csr_array(source(scores)).astype(np.float32)
        wanted = (len(scores.acts), scores.index.num_items)
        if given.shape != wanted:
            raise ConfigError(f"ranker.sources: {name} returned the shape {given.shape}, not {wanted}: profiles, items")
        if not np.isfinite(given.data).all():
            raise ConfigError(f"ranker.sources: {name} returned a score that is not finite")
        given.sum_duplicates()
        made[name] = given
    return made


def reasons_of(specs: Sequence[str]) -> dict[str, str]:
    """Return the text that each of the shop's own sources explains itself with."""
    return {
        name: str(getattr(source, "reason", "chosen for you")) for name, source in load_sources(tuple(specs)).items()
    }
