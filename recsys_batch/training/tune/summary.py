"""What a search found, for a terminal."""

import json
import shlex
from collections.abc import Mapping

from rich.console import Console
from rich.table import Table

from recsys_batch.contracts.config.tune import Value
from recsys_batch.training.tune.search import TrialRecord, TuneResult


def print_search(result: TuneResult, console: Console, most: int = 10) -> None:
    """Print the best trial's settings with their importance, and the `most` best trials."""
    best = Table(title=f"{result.metric} {result.best.value:.4f} (trial {result.best.number})")
    for column in ("setting", "best", "importance"):
        best.add_column(column, justify="left" if column == "setting" else "right")
    for name, value in result.best.values.items():
        share = f"{result.importance[name]:.0%}" if name in result.importance else ""
        best.add_row(name, _show(value), share)
    console.print(best)
    trials = Table(title=_count_states(result))
    trials.add_column("trial", justify="right")
    trials.add_column(result.metric, justify="right")
    for name in result.best.values:
        trials.add_column(name, justify="right")
    for trial in rank_trials(result)[:most]:
        trials.add_row(str(trial.number), f"{trial.value:.4f}", *(_show(value) for value in trial.values.values()))
    console.print(trials)


def as_options(values: Mapping[str, Value], block: str) -> list[str]:
    """Return the `--set` options, quoted for a shell, that give a block of the configuration these values."""
    return [f"--set {shlex.quote(f'{block}.{path}={_as_yaml(value)}')}" for path, value in values.items()]


def rank_trials(result: TuneResult) -> list[TrialRecord]:
    """Return the complete trials, the best first; of equal ones the earlier."""
    sign = 1 if result.metric.startswith("-") else -1
    complete = [trial for trial in result.trials if trial.value is not None]
    return sorted(complete, key=lambda trial: (sign * (trial.value or 0.0), trial.number))


def _count_states(result: TuneResult) -> str:
    states = [trial.state for trial in result.trials]
    counts = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))
    seconds = sum(trial.seconds for trial in result.trials)
    return f"{len(states)} trials: {counts}; {seconds:,.0f} s"


def _as_yaml(value: Value) -> str:
    text = json.dumps(value, ensure_ascii=False)
    mantissa, exponent, power = text.partition("e")
    # YAML 1.1 reads 1e-05 as a word, 1.0e-05 as a number.
    is_bare = isinstance(value, float) and exponent and "." not in mantissa
    return f"{mantissa}.0e{power}" if is_bare else text


def _show(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
