"""Training data: its parts, and the manifest that says what was written.

The manifest is plain JSON below the lake (`datasets/<split>/manifests/<ds>.json`): reading it needs no Spark. It is
written last, so tables of a date without a manifest are not finished and must not be trained on.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import date
from typing import Any, Final

from recsys_batch.contracts.config.splits import Split, SplitKind
from recsys_batch.contracts.errors import CheckFailedError, ConfigError, InputNotReadyError
from recsys_batch.contracts.gates import Check

TRAIN: Final = "train"
VALID: Final = "valid"
TEST: Final = "test"
SPLITS: Final = (TRAIN, VALID, TEST)


class LeakError(CheckFailedError):
    """Training data would tell what the test asks: a leak check failed, and the dataset has no manifest."""


class PreparedTablesMissingError(InputNotReadyError):
    """The date has no prepared tables: its night has not run."""


class ManifestNotFoundError(InputNotReadyError):
    """The dataset of the date was not made, or not finished."""


@dataclass(frozen=True)
class PartSummary:
    """One part (train, valid or test) of one table."""

    rows: int
    users: int
    items: int
    content_hash: str
    """Sum of the 64-bit hashes of all rows, whatever their order: equal rows, equal hash."""


@dataclass(frozen=True)
class DatasetManifest:
    """What one dataset of one date holds, and from what it was made."""

    name: str
    ds: str
    kind: SplitKind
    seed: int
    settings: Mapping[str, Any]
    source_run_id: str
    """Run of the night whose prepared tables were split."""
    code_version: str
    tables: Mapping[str, Mapping[str, PartSummary]]
    """Table -> part -> what it holds."""
    dropped: Mapping[str, Mapping[str, int]]
    """Table -> reason -> rows that went into no part."""
    item_texts: Mapping[str, Any]
    """Where the texts for training statistics come from, up to when, and how many."""
    position_curve: Mapping[str, Any] | None
    checks: tuple[Check, ...] = field(default=())

    def to_json(self) -> str:
        """Return the JSON text, keys sorted, so that equal datasets have equal manifests."""
        return json.dumps(asdict(self), indent=2, sort_keys=True, ensure_ascii=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> "DatasetManifest":
        """Read what `to_json` wrote."""
        raw = json.loads(text)
        tables = {t: {p: PartSummary(**s) for p, s in parts.items()} for t, parts in raw.pop("tables").items()}
        checks = tuple(Check(**check) for check in raw.pop("checks"))
        return cls(**raw, tables=tables, checks=checks)


def manifest_name(split: str, ds: date) -> str:
    """Return where the manifest lies below the lake's root."""
    return f"datasets/{split}/manifests/{ds.isoformat()}.json"


def refuse_leaks(checks: tuple[Check, ...] | list[Check], split: str, ds: date) -> None:
    """Raise LeakError naming every check that blocks."""
    blocked = [check.describe() for check in checks if check.verdict == "block"]
    if blocked:
        raise LeakError(
            f"dataset {split!r} of {ds}: {len(blocked)} leak check(s) failed, no manifest was written and the tables "
            "must not be used; mend the input or datasets.splits and run again:\n  " + "\n  ".join(blocked)
        )


def choose_splits(splits: tuple[Split, ...] | list[Split], names: list[str]) -> list[Split]:
    """Return the splits of these names, all where none is given. Raises ConfigError on an unknown name."""
    known = {split.name: split for split in splits}
    if unknown := [name for name in names if name not in known]:
        raise ConfigError(f"--split {unknown[0]}: no such split; datasets.splits has: {', '.join(known) or 'none'}")
    return [known[name] for name in names] if names else list(splits)
