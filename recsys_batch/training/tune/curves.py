"""The curves of a trial, which the search may end."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from recsys_batch.contracts.config.tracking import Tracking
from recsys_batch.training.loop.run import Tracker
from recsys_batch.training.shop.curves import describe_job
from recsys_batch.training.shop.job import TrainingJob
from recsys_batch.training.tracking.open import Trackers, open_tracker
from recsys_batch.training.tune.search import TrialPrunedError, TrialTracker


@dataclass(frozen=True)
class OpenTrialCurves:
    """Opens the curves of a trial, and lets the search end it."""

    tracking: Tracking
    folder: Path
    trial: TrialTracker

    @contextmanager
    def __call__(self, job: TrainingJob) -> Iterator[Tracker]:
        """Give the tracker of a trial. A trial that falls behind ended as it should: its curves do not end in error."""
        behind: TrialPrunedError | None = None
        name = f"trial-{self.trial.number:04d}"
        with open_tracker(self.tracking, self.folder, name, describe_job(job)) as curves:
            try:
                yield Trackers([curves, self.trial])
            except TrialPrunedError as error:
                behind = error
        if behind is not None:
            raise behind
