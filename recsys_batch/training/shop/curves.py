"""Where the curves of the shop's runs go: one folder a model name, so that TensorBoard shows its runs side by side."""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from recsys_batch.contracts.config.tracking import Tracking
from recsys_batch.training.loop.run import Tracker
from recsys_batch.training.shop.job import TrainingJob
from recsys_batch.training.tracking.open import open_tracker


def curves_folder(root: Path, model: str) -> Path:
    """Return where the curves of a model's runs lie below the registry's root."""
    return root / model / "curves"


@dataclass(frozen=True)
class OpenCurves:
    """Opens the curves of a training run, in whatever process it is called."""

    tracking: Tracking
    folder: str
    resume: bool = True
    """Go on with the curves of an earlier part of the run; else they begin anew."""

    def __call__(self, job: TrainingJob) -> AbstractContextManager[Tracker]:
        """Return the tracker of a job, named by its key. Raises what `tracking.open_tracker` raises."""
        return open_tracker(self.tracking, Path(self.folder), job.key, describe_job(job), resume=self.resume)


def describe_job(job: TrainingJob) -> Mapping[str, object]:
    """Return what is shown beside the curves."""
    return {
        "training": job.settings.model_dump(mode="json"),
        "start": job.start,
        "data_version": job.data_version,
        "max_tokens": job.max_tokens,
    }
