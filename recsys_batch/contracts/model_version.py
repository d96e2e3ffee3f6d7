"""A registered model version: what it is, what it was made from, and how good it was found to be."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from recsys_batch.contracts.errors import AnotherPublisherWonError, ConfigError, ModelFilesError

ModelKind = Literal["encoder", "heads", "sequence", "ranker"]


class ModelVersionNotFoundError(ConfigError):
    """The registry has no such model, version or champion."""


class ModelVersionSpoiledError(ModelFilesError):
    """A file of a registered version is missing or was changed after registration."""


class AnotherPromotionWonError(AnotherPublisherWonError):
    """The champion moved between the comparison and the promotion."""


@dataclass(frozen=True)
class ModelVersion:
    """The manifest of one immutable version, `manifest.json` beside its files."""

    name: str
    """The model's name in the shop: every version under it serves the same purpose."""
    kind: ModelKind
    settings: Mapping[str, Any]
    """What trained it: the blocks of the configuration."""
    data: Mapping[str, Any]
    """What it learned from: split, `ds` and content hashes, as in the dataset's manifest."""
    metrics: Mapping[str, float]
    """Held-out metrics, `task.metric`, and the costs (`texts_per_second`, `num_parameters`)."""
    parents: tuple[str, ...]
    """Fingerprints or `name/version` of what it started from."""
    code_version: str
    seed: int
    files: Mapping[str, str] = field(default_factory=dict)
    """Path below `model/` -> sha256 of its bytes."""

    @property
    def version(self) -> str:
        """Return 12 hex digits of everything above: the same training gives the same version."""
        return hashlib.sha256(self._text().encode()).hexdigest()[:12]

    @property
    def fingerprint(self) -> str:
        """Return a sha256 of the files alone: two versions of equal files are the same model."""
        listed = "\n".join(f"{name}\0{digest}" for name, digest in sorted(self.files.items()))
        return hashlib.sha256(listed.encode()).hexdigest()

    def to_json(self) -> str:
        """Return the manifest's text, with version and fingerprint for the reader."""
        head = {"version": self.version, "fingerprint": self.fingerprint}
        return json.dumps(head | json.loads(self._text()), indent=2, sort_keys=True, ensure_ascii=False) + "\n"

    def _text(self) -> str:
        return json.dumps(asdict(self), sort_keys=True, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str, where: str) -> "ModelVersion":
        """Read what `to_json` wrote. Raises ModelVersionSpoiledError where it is something else, or was edited."""
        try:
            raw = json.loads(text)
            version = raw.pop("version")
            raw.pop("fingerprint")
            found = cls(**raw | {"parents": tuple(raw["parents"])})
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ModelVersionSpoiledError(f"{where}: no manifest of a model version ({error})") from error
        if found.version != version:
            raise ModelVersionSpoiledError(
                f"{where}: the manifest was edited after registration (says {version}, is {found.version}); "
                "restore it, or register the model again"
            )
        return found
