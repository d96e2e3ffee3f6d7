"""Who a run is, stage by stage: the same inputs, settings, code and models make the same identity and tables."""

import hashlib
import re
import secrets
from collections.abc import Mapping
from datetime import date
from functools import lru_cache
from pathlib import Path

import recsys_batch
from recsys_batch.contracts.errors import ConfigError

_RUN_ID = re.compile(r"(\d{4})(\d{2})(\d{2})-[0-9a-f]{8}-[0-9a-f]{6}")


def parse_ds(text: str, option: str = "--ds") -> date:
    """Parse a business date, YYYY-MM-DD, that `option` gives. Raises ConfigError naming the value."""
    try:
        parsed = date.fromisoformat(text)
    except ValueError:
        parsed = None
    if parsed is None or parsed.isoformat() != text:
        raise ConfigError(f"{option} {text!r}: not a date; write YYYY-MM-DD, such as 2026-06-30")
    return parsed


@lru_cache
def code_version() -> str:
    """Return the package version and a hash of its source, so that two builds of one version can be told apart."""
    root = Path(recsys_batch.__file__).parent
    digest = hashlib.sha256()
    for source in sorted(root.rglob("*.py")):
        digest.update(f"{source.relative_to(root)}\n".encode())
        digest.update(source.read_bytes())
    return f"{recsys_batch.__version__}+{digest.hexdigest()[:8]}"


def identify(ds: date, stage: str, settings: str, versions: Mapping[str, str], before: str = "") -> str:
    """Return the identity (hex) of one stage of a run.

    `settings` is the hash of what it reads of the config, `versions` are those of its inputs and models, and `before`
    is the identity of the stage before it: what changes there changes here too.
    """
    parts = [ds.isoformat(), stage, settings, code_version(), before]
    parts += [f"{name}={version}" for name, version in sorted(versions.items())]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def new_run_id(ds: date, identity: str) -> str:
    """Return a new run's id; runs of one identity differ in the last part, so that none writes another's slices."""
    return f"{ds:%Y%m%d}-{identity[:8]}-{secrets.token_hex(3)}"


def date_of_run(run_id: str) -> date | None:
    """Return the business date of a run by its id, or None where the text is no run's id."""
    found = _RUN_ID.fullmatch(run_id)
    try:
        return date(*map(int, found.groups())) if found else None
    except ValueError:
        return None


def encoder_version(fingerprint: str) -> str:
    """Return what published rows and releases carry as the version of an encoder."""
    return f"encoder:{fingerprint[:12]}"
