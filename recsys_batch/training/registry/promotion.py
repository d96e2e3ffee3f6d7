"""Moves the champion to a challenger that is not worse, by a paired test on the same held-out cases."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from recsys_batch.contracts.errors import CheckFailedError, ConfigError
from recsys_batch.rules.metrics.paired_tests import Interval, paired_bootstrap
from recsys_batch.training.registry.versions import Champion, Registry, align

log = logging.getLogger("recsys_batch.training")

Measure = Callable[[Path], Mapping[str, float]]
"""Model folder -> the metric on every held-out case."""


class ChallengerWorseError(CheckFailedError):
    """The challenger is worse than the champion on the held-out cases, or that cannot be excluded."""


@dataclass(frozen=True)
class Verdict:
    """Whether a version is the champion now, and why or why not."""

    is_champion: bool
    reason: str


@dataclass(frozen=True)
class Comparison:
    """A challenger against the champion: the mean difference (positive: the challenger is better) and its interval."""

    metric: str
    num_cases: int
    champion_mean: float
    challenger_mean: float
    difference: Interval


def promote(
    registry: Registry,
    name: str,
    challenger: str,
    metric: str,
    *,
    tolerance: float = 0.0,
    min_cases: int = 30,
    measure: Measure | None = None,
    seed: int = 0,
) -> Comparison | None:
    """Point the champion of `name` to version `challenger` where it is not worse; return the comparison made.

    Not worse: its mean over the held-out cases is at least the champion's, or the 95% interval of the paired difference
    lies above `-tolerance` (in the metric's own unit). The first version is promoted without comparison (None),
    and the move's reason says so.
    A champion that was measured on other cases is measured again by `measure` on the challenger's.

    Raises ChallengerWorseError with both means, ConfigError where the two share fewer than `min_cases` cases or the
    challenger has none, and AnotherPromotionWonError.
    """
    champion = registry.champion(name)
    if champion is None:
        reason = f"the first version: no champion to compare it with; {_own(registry, name, challenger, metric)}"
        registry.point_to(name, challenger, reason, None)
        log.info("model %s: version %s is the champion: %s", name, challenger, reason)
        return None
    if champion.version == challenger:
        return None
    compared = compare(registry, name, champion, challenger, metric, min_cases=min_cases, measure=measure, seed=seed)
    outcome = (
        f"{metric} {compared.challenger_mean:.4f} against {compared.champion_mean:.4f} of champion {champion.version} "
        f"on {compared.num_cases} cases, difference {compared.difference.mean:+.4f} "
        f"[{compared.difference.low:+.4f}, {compared.difference.high:+.4f}]"
    )
    if compared.difference.mean < 0 and compared.difference.low < -tolerance:
        raise ChallengerWorseError(f"model {name!r}, version {challenger}: {outcome}; the champion stays")
    registry.point_to(name, challenger, outcome, champion)
    log.info("model %s: version %s is the champion: %s", name, challenger, outcome)
    return compared


def try_to_promote(
    registry: Registry,
    name: str,
    challenger: str,
    metric: str,
    *,
    tolerance: float = 0.0,
    min_cases: int = 30,
    measure: Measure | None = None,
    seed: int = 0,
) -> Verdict:
    """Promote a version as `promote` does; a challenger that is worse is a verdict, and no error."""
    try:
        promote(
            registry,
            name,
            challenger,
            metric,
            tolerance=tolerance,
            min_cases=min_cases,
            measure=measure,
            seed=seed,
        )
    except ChallengerWorseError as error:
        return Verdict(False, str(error))
    champion = registry.champion(name)
    assert champion is not None  # it was moved just now  # noqa: S101
    return Verdict(champion.version == challenger, champion.reason)


def _own(registry: Registry, name: str, version: str, metric: str) -> str:
    cases = registry.cases(name, version, metric)
    if not cases:
        return f"it was not measured by {metric}"
    return f"{metric} {sum(cases.values()) / len(cases):.4f} on {len(cases)} cases"


def compare(
    registry: Registry,
    name: str,
    champion: Champion,
    challenger: str,
    metric: str,
    *,
    min_cases: int,
    measure: Measure | None,
    seed: int,
) -> Comparison:
    """Compare two versions case by case; raises ConfigError where they cannot be."""
    ours = registry.cases(name, challenger, metric)
    if not ours:
        raise ConfigError(
            f"model {name!r}, version {challenger}: not measured by {metric!r} case by case; train it again"
        )
    theirs: Mapping[str, float] = registry.cases(name, champion.version, metric)
    if not ours.keys() <= theirs.keys() and measure is not None:
        theirs = measure(registry.model_folder(name, champion.version))
    champion_N, challenger_N = align(theirs, ours)
    if champion_N.size < min_cases:
        raise ConfigError(
            f"model {name!r}: champion {champion.version} and challenger {challenger} share {champion_N.size} cases of "
            f"{metric!r}, at least {min_cases} are needed; measure both on the same held-out split"
        )
    difference = paired_bootstrap(challenger_N - champion_N, seed=seed)
    return Comparison(metric, int(champion_N.size), float(champion_N.mean()), float(challenger_N.mean()), difference)
