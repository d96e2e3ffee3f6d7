"""Probabilities that mean what they say: one temperature for all, fitted on held-out labels (Guo et al., 2017)."""

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize_scalar

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

COLDEST, WARMEST = 0.05, 20.0
"""Bounds of a temperature: labels that are all guessed right would have it fall to 0."""


def fit_temperature(probabilities_NC: npt.ArrayLike, labels_N: IntArray) -> float:
    """Return the temperature at which the labels are likeliest; above 1 for a model that is surer than it is right.

    1 without examples. Raises ValueError where lengths differ or a label is no column.
    """
    log_NC = _log(probabilities_NC)
    if len(log_NC) != len(labels_N):
        raise ValueError(f"{len(log_NC)} rows of probabilities and {len(labels_N)} labels")
    if not len(labels_N):
        return 1.0
    if labels_N.min() < 0 or labels_N.max() >= log_NC.shape[1]:
        raise ValueError(f"labels {labels_N.min()} to {labels_N.max()} of {log_NC.shape[1]} classes")

    def loss(log_temperature: float) -> float:
        scaled_NC = log_NC / np.exp(log_temperature)
        highest_N = scaled_NC.max(1)
        log_sum_N = np.log(np.exp(scaled_NC - highest_N[:, None]).sum(1)) + highest_N
        return float((log_sum_N - scaled_NC[np.arange(len(labels_N)), labels_N]).mean())

    bounds = (np.log(COLDEST), np.log(WARMEST))
    found = minimize_scalar(loss, bounds=bounds, method="bounded", options={"xatol": 1e-6})
    return float(np.exp(found.x))


def apply_temperature(probabilities_NC: npt.ArrayLike, temperature: float) -> FloatArray:
    """Return softmax(log p / temperature); the order of the classes stays."""
    scaled_NC = _log(probabilities_NC) / temperature
    raised_NC = np.exp(scaled_NC - scaled_NC.max(1, initial=-np.inf, keepdims=True))
    calibrated_NC: FloatArray = raised_NC / raised_NC.sum(1, keepdims=True)
    return calibrated_NC


def _log(probabilities_NC: npt.ArrayLike) -> FloatArray:
    values_NC = np.asarray(probabilities_NC, dtype=np.float64)
    logs_NC: FloatArray = np.log(np.clip(values_NC, np.finfo(np.float64).tiny, None))
    return logs_NC
