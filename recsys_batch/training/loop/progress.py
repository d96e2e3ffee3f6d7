"""Shows how far a run is: a bar in a terminal, plain log lines elsewhere."""

import logging
import sys
import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

log = logging.getLogger("recsys_batch.training")
_LOG_SECONDS = 15.0


class TrainingProgress:
    """Follows the steps of one process; measures since it was made, so that a resumed run shows its own speed."""

    def __init__(self, num_steps: int, done_steps: int, quiet: bool) -> None:
        """Follow a run of `num_steps` steps, `done_steps` of them already taken; `quiet`: show nothing."""
        self._num_steps, self._first_step = num_steps, done_steps
        self._quiet = quiet
        self._started = self._logged = time.monotonic()
        self._examples = self._tokens = 0
        self._bar: Progress | None = None

    def __enter__(self) -> "TrainingProgress":
        """Draw the bar, where a person watches."""
        if not self._quiet and sys.stderr.isatty():
            columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
            self._bar = Progress(*columns, console=Console(stderr=True), transient=True)
            self._bar.start()
            self._bar.add_task("train", total=self._num_steps, completed=self._first_step)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Remove the bar."""
        if self._bar:
            self._bar.stop()

    def advance(self, done_steps: int, loss: float, num_examples: int, num_tokens: int) -> None:
        """Note that `done_steps` steps are taken, the last with this loss, on so many examples and tokens."""
        self._examples += num_examples
        self._tokens += num_tokens
        if self._quiet:
            return
        now = time.monotonic()
        seconds = max(now - self._started, 1e-9)
        rate = f"{self._examples / seconds:,.0f} examples/s, {self._tokens / seconds:,.0f} tokens/s"
        if self._bar:
            self._bar.update(self._bar.task_ids[0], completed=done_steps, description=f"train: loss {loss:.4f}, {rate}")
        elif now - self._logged >= _LOG_SECONDS or done_steps == self._num_steps:
            self._logged = now
            left = (self._num_steps - done_steps) * seconds / (done_steps - self._first_step)
            log.info("step %d of %d: loss %.4f, %s, %.0f s left", done_steps, self._num_steps, loss, rate, left)

    def report_metrics(self, done_steps: int, metrics: dict[str, float], note: str) -> None:
        """Show the metrics after `done_steps` steps."""
        if not self._quiet and metrics:
            shown = ", ".join(f"{name} {value:.4f}" for name, value in metrics.items())
            log.info("after step %d: %s%s", done_steps, shown, note)
