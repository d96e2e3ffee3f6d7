"""The baselines of an evaluation: each with its few settings tried on an earlier cut, then learned up to the date."""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product

import numpy as np
from pyspark.sql import SparkSession
from scipy import sparse

from recsys_batch.measure.known import Known
from recsys_batch.rules.baselines.lists import binary_ndcg, top_lists
from recsys_batch.rules.baselines.log import Indices, Log
from recsys_batch.rules.baselines.scorers import Scorer, ease, factors, item_knn, own_recency, popular
from recsys_batch.spark.evaluation.als import item_factors

log = logging.getLogger("recsys_batch.evaluate")
Settings = Mapping[str, float | str]

# The model's memory grows with the square of it, its time with the cube: 8 GB and some minutes here.
MAX_EASE_ITEMS = 20_000
# Users that settings are tried on.
_TRIED_USERS = 2_000
_FOREVER = float("inf")


@dataclass(frozen=True)
class Baseline:
    """One baseline: how it learns, and the settings that are tried."""

    name: str
    fit: Callable[..., Scorer]
    settings: Sequence[Mapping[str, float]]
    learns: bool = False
    """Whether it may learn from all acts; else it goes by those that count alone."""
    max_items: int | None = None


@dataclass(frozen=True)
class BaselineLists:
    """What a baseline recommends, with the settings that were best on the earlier cut."""

    name: str
    settings: Settings
    lists_BN: Indices
    """Items by key and place; -1: no more."""


@dataclass(frozen=True)
class Cases:
    """Those for whom lists are made, with their histories."""

    counted: Log
    """Acts of the types that count as a hit."""
    all_acts: Log
    keys_B: Indices


@dataclass(frozen=True)
class Trial:
    """An earlier cut: what was known then, and what came after."""

    cases: Cases
    targets: sparse.csr_array
    """Shape (B, I), a target or more in each row."""


def all_baselines(spark: SparkSession, folder: str, *, repeats: bool, seed: int = 0) -> list[Baseline]:
    """Return the baselines that fit the shop, each with four settings (popularity has none) for each kind of acts.

    `folder` is where the workers may leave files.
    """
    als = partial(_fit_als, spark, folder, seed)
    made = [
        Baseline("popularity", popular, ({"days": _FOREVER},)),
        Baseline("recent popularity", popular, tuple({"days": d} for d in (7.0, 14.0, 30.0, 60.0))),
        Baseline(
            "ItemKNN",
            item_knn,
            tuple({"neighbors": n, "shrinkage": s} for n, s in product((50, 200), (0.0, 20.0))),
            learns=True,
        ),
        Baseline(
            "EASE", ease, tuple({"l2": x} for x in (50.0, 200.0, 500.0, 1000.0)), learns=True, max_items=MAX_EASE_ITEMS
        ),
        Baseline(
            "Spark ALS",
            als,
            tuple({"rank": r, "alpha": a, "l2": 0.05} for r, a in product((32, 64), (1.0, 20.0))),
            learns=True,
        ),
    ]
    if repeats:
        own = Baseline("own recency", own_recency, tuple({"decay_days": d} for d in (15.0, 30.0, 60.0, 120.0)))
        made.insert(2, own)
    return made


def trial_of_days(known: Known, days: int, *, repeats: bool) -> Trial:
    """Return the cut `days` before: its targets are of the days since."""
    counted, after = known.counted.until(days), known.counted.since(days)
    return _trial(counted, known.all_acts.until(days), after.matrix, repeats=repeats)


def trial_of_newest(known: Known, *, repeats: bool) -> Trial:
    """Return each key's newest act as its target, for logs whose times say nothing but an order."""
    counted, after = known.counted.newest_left_out()
    return _trial(counted, counted, after.matrix, repeats=repeats)


def tuned_lists(
    baselines: Sequence[Baseline],
    known: Known,
    trial: Trial,
    cases: Cases,
    length: int,
    *,
    repeats: bool,
) -> Iterator[BaselineLists]:
    """Yield the lists of each baseline for the cases, learned from all that is known.

    Settings are those with the best NDCG@length on the trial, whose items are masked as those of the lists are. A
    baseline that the catalog is too large for is left out, with a warning.
    """
    # Of a log with one type of acts there is nothing more to learn from.
    both = len(known.all_acts.keys_E) > len(known.counted.keys_E)
    for baseline in baselines:
        if baseline.max_items is not None and len(known.items_I) > baseline.max_items:
            log.warning(
                "%s: left out: %s products are more than the %s that it is made for",
                *(baseline.name, f"{len(known.items_I):,}", f"{baseline.max_items:,}"),
            )
            continue
        choices: list[Settings] = [dict(each) for each in baseline.settings]
        if both and baseline.learns:
            choices = [{**each, "acts": acts} for each in choices for acts in ("counted", "all")]
        best = choices[0]
        if len(choices) > 1 and len(trial.cases.keys_B):
            tried = [_lists(baseline, each, trial.cases, trial.cases, known, length, repeats) for each in choices]
            best = choices[int(np.argmax([binary_ndcg(lists_BN, trial.targets).mean() for lists_BN in tried]))]
        learned = Cases(known.counted, known.all_acts, cases.keys_B)
        lists_BN = _lists(baseline, best, learned, cases, known, length, repeats)
        log.info("%s: %s (best of %d on the earlier cut)", baseline.name, describe(best), len(choices))
        yield BaselineLists(baseline.name, best, lists_BN)


def describe(settings: Settings) -> str:
    """Return the settings as a person reads them."""
    shown = (
        f"{name} {value:g}" if isinstance(value, float | int) else f"{name} {value}" for name, value in settings.items()
    )
    return ", ".join(shown)


def _lists(
    baseline: Baseline, settings: Settings, learned: Cases, cases: Cases, known: Known, length: int, repeats: bool
) -> Indices:
    numbers = {name: value for name, value in settings.items() if not isinstance(value, str)}
    of_all = settings.get("acts") == "all"
    scorer = baseline.fit(learned.all_acts if of_all else learned.counted, **numbers)
    masked = None if repeats else cases.counted.matrix
    history = cases.all_acts if of_all else cases.counted
    return top_lists(scorer, history, cases.keys_B, known.eligible_I, length, masked)


def _trial(counted: Log, all_acts: Log, targets: sparse.csr_array, *, repeats: bool) -> Trial:
    if not repeats:
        targets = counted.new_only(targets)
    keys_B = np.flatnonzero((np.diff(targets.indptr) > 0) & (np.diff(all_acts.matrix.indptr) > 0))
    keys_B = np.sort(np.random.default_rng(0).permutation(keys_B)[:_TRIED_USERS])
    return Trial(Cases(counted, all_acts, keys_B), targets[keys_B])


def _fit_als(spark: SparkSession, folder: str, seed: int, learned: Log, rank: float, alpha: float, l2: float) -> Scorer:
    keys_P, items_P = (axis.astype(np.int64) for axis in learned.matrix.nonzero())
    found = item_factors(
        spark, keys_P, items_P, learned.num_items, folder, rank=int(rank), alpha=alpha, l2=l2, seed=seed
    )
    return factors(found, alpha, l2)
