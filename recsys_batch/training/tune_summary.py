"""What a search found, for a terminal."""

from rich.console import Console
from rich.table import Table

from recsys_batch.training.tune import TrialRecord, TuneResult


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


def _show(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
