"""Settings of tracking: where the curves of a training run go besides TensorBoard's files, which are always written."""

from pydantic import Field, field_validator

from recsys_batch.contracts.config.block import Block


class WeightsAndBiases(Block):
    """Weights & Biases (extra `wandb`)."""

    enabled: bool = False
    online: bool = False
    """Send to the server while training; the key is read from WANDB_API_KEY. Off: files below the run's folder, which
    `wandb sync` sends later."""
    project: str = Field("recsys-batch", min_length=1)
    entity: str = ""
    """User or team; the key's own where empty."""


class MLflow(Block):
    """MLflow (extra `mlflow`)."""

    enabled: bool = False
    server: str = Field("", pattern=r"^(https?://.+)?$")
    """URL of a tracking server, which is then sent to while training; name and password are read from
    MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD. Empty: the SQLite file `mlflow.db` below the run's folder."""
    experiment: str = Field("recsys-batch", min_length=1)

    @field_validator("server")
    @classmethod
    def _names_no_password(cls, value: str) -> str:
        if "@" in value.partition("://")[2].partition("/")[0]:
            # The value itself is left out: it holds what must not be shown.
            raise ValueError("server must hold no user name or password; set MLFLOW_TRACKING_USERNAME and _PASSWORD")
        return value


class Tracking(Block):
    """Where curves go; nothing leaves this machine unless `online` or `server` says so."""

    wandb: WeightsAndBiases = WeightsAndBiases()
    mlflow: MLflow = MLflow()
