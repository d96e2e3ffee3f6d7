"""What a check of the installation found."""

from dataclasses import dataclass
from typing import Literal

Verdict = Literal["pass", "warn", "fail"]


@dataclass(frozen=True)
class Finding:
    """One check of `doctor`."""

    verdict: Verdict
    setting: str
    """Name of the setting, variable, package or path that was looked at."""
    value: str
    """What was found."""
    advice: str = ""
    """What to set; empty where all is well."""
    is_config: bool = False
    """Whether mending a config file or a Spark setting helps, as against the machines or what is installed there."""


def passed(setting: str, value: object) -> Finding:
    """Return a finding without fault."""
    return Finding("pass", setting, str(value))


def warned(setting: str, value: object, advice: str) -> Finding:
    """Return a finding that costs time or safety, not results."""
    return Finding("warn", setting, str(value), advice)


def failed(setting: str, value: object, advice: str) -> Finding:
    """Return a finding about a machine or what is installed on it, with which a night would fail."""
    return Finding("fail", setting, str(value), advice)


def misset(setting: str, value: object, advice: str) -> Finding:
    """Return a finding about a setting with which a night would fail or be wrong."""
    return Finding("fail", setting, str(value), advice, is_config=True)
