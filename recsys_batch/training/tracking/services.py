"""Weights & Biases and MLflow as destinations of curves: on this machine unless the config names a server."""

import os
import re
import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from recsys_batch.contracts.config.tracking import MLflow, WeightsAndBiases
from recsys_batch.contracts.errors import ConfigError
from recsys_batch.rules.texts.redact import redact_text
from recsys_batch.training.tracking.base import ResumeFile, TrackingUnavailableError, import_package

_NOT_IN_MLFLOW_NAMES = re.compile(r"[^\w\-. :/]")
_BATCH_SIZE, _BATCH_SECONDS = 200, 5.0
_PARAMS_TOGETHER, _LONGEST_PARAM = 100, 500
# Both packages report their own use and faults to their makers, offline too, unless told not to before their import.
_NO_REPORTS = {"MLFLOW_DISABLE_TELEMETRY": "true", "WANDB_ERROR_REPORTING": "false"}


class WandbRun:
    """A run of Weights & Biases. Its machine, code and console are not recorded: they may hold what is not for others.

    Its steps only rise. When a run goes on, its parts share an id, and steps that an earlier part told are passed over;
    `wandb sync` puts the parts of an offline run together.
    """

    def __init__(
        self, settings: WeightsAndBiases, folder: Path, run_name: str, config: Mapping[str, object], resume: bool
    ) -> None:
        """Open the run. Raises ConfigError without package or key, TrackingUnavailableError without server."""
        _stop_reports()
        wandb = import_package("wandb", "wandb", "tracking.wandb.enabled")
        self.errors = (wandb.Error,)
        self._state = ResumeFile(folder, "wandb", run_name, resume)
        self._state.content.setdefault("id", uuid.uuid4().hex)
        self._told_step: int = self._state.content.get("step", -1)
        self._told_names: list[str] = self._state.content.get("names", [])
        quiet = wandb.Settings(
            console="off",
            disable_git=True,
            disable_job_creation=True,
            save_code=False,
            silent=True,
            x_disable_machine_info=True,
            x_disable_meta=True,
            x_disable_stats=True,
            x_save_requirements=False,
        )
        try:
            self._run: Any = wandb.init(
                project=settings.project,
                entity=settings.entity or None,
                name=run_name,
                id=self._state.content["id"],
                dir=str(folder),
                config=dict(config),
                mode="online" if settings.online else "offline",
                resume="allow" if settings.online else None,
                settings=quiet,
            )
        except wandb.errors.UsageError as error:
            raise ConfigError(f"tracking.wandb: {redact_text(str(error))}; is WANDB_API_KEY set?") from error
        except (wandb.Error, OSError) as error:
            raise TrackingUnavailableError(f"tracking.wandb cannot be opened: {redact_text(str(error))}") from error
        self._state.write()

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Keep values, unless an earlier part of the run did."""
        new = {
            name: value for name, value in values.items() if step == self._told_step and name not in self._told_names
        }
        if step > self._told_step:
            new, self._told_names = dict(values), []
        if not new:
            return
        self._run.log(new, step=step)
        self._told_step, self._told_names = step, [*self._told_names, *new]
        self._state.content |= {"step": step, "names": self._told_names}
        self._state.write()

    def close(self, failed: bool) -> None:
        """Wait until everything is written, or sent."""
        self._run.finish(exit_code=int(failed))


class MLflowRun:
    """A run of MLflow. Values go out by the hundreds or every few seconds; points that the run has are passed over."""

    def __init__(
        self, settings: MLflow, folder: Path, run_name: str, config: Mapping[str, object], resume: bool
    ) -> None:
        """Open the run. Raises ConfigError without package, TrackingUnavailableError where the store is not there."""
        _stop_reports()
        import_package("mlflow", "mlflow", "tracking.mlflow.enabled")
        import mlflow.entities
        import mlflow.exceptions

        self.errors = (mlflow.exceptions.MlflowException,)
        self._metric = mlflow.entities.Metric
        self._waiting: list[Any] = []
        self._sent_at = time.monotonic()
        state = ResumeFile(folder, "mlflow", run_name, resume)
        store = settings.server or f"sqlite:///{(folder / 'mlflow.db').resolve()}"
        try:
            self._client: Any = mlflow.MlflowClient(tracking_uri=store)
            if "run_id" in state.content:
                self._id = str(state.content["run_id"])
                self._client.update_run(self._id, status="RUNNING")
            else:
                self._id = self._start(settings, folder, run_name, config)
            self._last_step = self._read_last_steps()
        except self.errors as error:
            raise TrackingUnavailableError(f"tracking.mlflow cannot be opened: {redact_text(str(error))}") from error
        state.content["run_id"] = self._id
        state.write()

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Keep values, unless the run has a point of that name at this step or later."""
        now = int(time.time() * 1000)
        for given, value in values.items():
            name = _name(given)
            if step > self._last_step.get(name, -1):
                self._last_step[name] = step
                self._waiting.append(self._metric(name, float(value), now, step))
        if len(self._waiting) >= _BATCH_SIZE or time.monotonic() - self._sent_at >= _BATCH_SECONDS:
            self._send()

    def close(self, failed: bool) -> None:
        """Send the rest, and say how the run ended."""
        self._send()
        self._client.set_terminated(self._id, "FAILED" if failed else "FINISHED")

    def _send(self) -> None:
        if self._waiting:
            self._client.log_batch(self._id, metrics=self._waiting)
        self._waiting, self._sent_at = [], time.monotonic()

    def _start(self, settings: MLflow, folder: Path, run_name: str, config: Mapping[str, object]) -> str:
        from mlflow.entities import Param

        found = self._client.get_experiment_by_name(settings.experiment)
        # A server decides itself where artifacts go; beside a file they would otherwise go to the working directory.
        artifacts = None if settings.server else (folder / "mlflow" / "artifacts").resolve().as_uri()
        experiment = found.experiment_id if found else self._client.create_experiment(settings.experiment, artifacts)
        run_id = str(self._client.create_run(experiment, run_name=run_name).info.run_id)
        params = [Param(_name(name), str(value)[:_LONGEST_PARAM]) for name, value in config.items()]
        for start in range(0, len(params), _PARAMS_TOGETHER):
            self._client.log_batch(run_id, params=params[start : start + _PARAMS_TOGETHER])
        return run_id

    def _read_last_steps(self) -> dict[str, int]:
        names = self._client.get_run(self._id).data.metrics
        return {name: max(m.step for m in self._client.get_metric_history(self._id, name)) for name in names}


def _stop_reports() -> None:
    for variable, value in _NO_REPORTS.items():
        os.environ.setdefault(variable, value)


def _name(name: str) -> str:
    """Return a name that MLflow allows: `retrieval.ndcg@10` becomes `retrieval.ndcg_at_10`."""
    return _NOT_IN_MLFLOW_NAMES.sub("_", name.replace("@", "_at_"))
