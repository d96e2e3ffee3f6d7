"""The registry of models: immutable versions in a folder that every node sees, and a champion that points to one.

`<root>/<name>/versions/<version>/{manifest.json, model/, cases/}` is written once.
`<root>/<name>/champions/000001.json`, `000002.json`, ... are the pointer's moves, each created exclusively: the highest
number counts, and of two promotions at the same time one wins. Nothing here is ever deleted or changed.
"""

import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from recsys_batch.contracts.errors import ConfigError
from recsys_batch.contracts.model_version import (
    AnotherPromotionWonError,
    ModelVersion,
    ModelVersionNotFoundError,
    ModelVersionSpoiledError,
)

_NAME = re.compile(r"^[A-Za-z_][\w-]*$")
_CASES_NAME = re.compile(r"^[\w@.=\[\]-]+$")
_NAME_OF_VERSION = re.compile(r"^[0-9a-f]{12}$")
REGISTRY_PREFIX = "registry:"
"""How the configuration names a registered model."""

Cases = Mapping[str, float]
"""Case (a user, a query, a request) -> metric on that case alone; what a paired test compares."""


@dataclass(frozen=True)
class Champion:
    """One move of the pointer."""

    number: int
    version: str
    reason: str


class Registry:
    """The models of one shop under a local or shared folder."""

    def __init__(self, root: Path) -> None:
        """Point to the folder; it is made at the first registration."""
        self.root = root

    def register(self, manifest: ModelVersion, model: Path, cases: Mapping[str, Cases]) -> ModelVersion:
        """Copy the folder `model` in as a new version and return its manifest, files hashed.

        `cases`: metric -> its value on each held-out case. Registering equal content again returns the version that is
        there. Raises ConfigError on a name that is no identifier, or where `model` holds no file.
        """
        _check_name(manifest.name, _NAME, "model")
        files = {path.relative_to(model).as_posix(): _hash(path) for path in sorted(model.rglob("*")) if path.is_file()}
        if not files:
            raise ConfigError(f"{model}: no files to register as a version of {manifest.name}")
        manifest = replace(manifest, files=files)
        target = self._folder(manifest.name, manifest.version)
        if target.exists():
            return self.read(manifest.name, manifest.version)
        target.parent.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(prefix=".registering-", dir=target.parent))
        try:
            shutil.copytree(model, staging / "model")
            (staging / "cases").mkdir()
            for metric, values in cases.items():
                _check_name(metric, _CASES_NAME, "metric")
                _write_json(staging / "cases" / f"{metric}.json", dict(sorted(values.items())))
            (staging / "manifest.json").write_text(manifest.to_json(), encoding="utf-8")
            staging.chmod(0o755)
            staging.rename(target)
        except OSError:
            shutil.rmtree(staging, ignore_errors=True)
            if not target.exists():  # else another process registered the same version meanwhile
                raise
        return self.read(manifest.name, manifest.version)

    def read(self, name: str, version: str) -> ModelVersion:
        """Return the manifest of a version. Raises ModelVersionNotFoundError, ModelVersionSpoiledError."""
        file = self._folder(name, version) / "manifest.json"
        if not file.is_file():
            known = ", ".join(self.versions(name)) or "none"
            raise ModelVersionNotFoundError(f"{self.root}: model {name!r} has no version {version!r}; known: {known}")
        return ModelVersion.from_json(file.read_text(encoding="utf-8"), str(file))

    def versions(self, name: str) -> list[str]:
        """Return the versions of a model, in the order of their names."""
        folder = self.root / name / "versions"
        return sorted(p.name for p in folder.iterdir() if not p.name.startswith(".")) if folder.is_dir() else []

    def model_folder(self, name: str, version: str) -> Path:
        """Return the folder of a version's files, every one checked against its hash.

        Raises ModelVersionNotFoundError, and ModelVersionSpoiledError naming the file that is missing or was changed.
        """
        folder = self._folder(name, version) / "model"
        for relative, digest in self.read(name, version).files.items():
            file = folder / relative
            if not file.is_file() or _hash(file) != digest:
                state = "was changed after registration" if file.is_file() else "is missing"
                raise ModelVersionSpoiledError(f"{file} {state}; restore it, or promote another version of {name}")
        return folder

    def cases(self, name: str, version: str, metric: str) -> dict[str, float]:
        """Return a metric's value on each held-out case; empty where the version was not measured by it."""
        file = self._folder(name, version) / "cases" / f"{metric}.json"
        return {k: float(v) for k, v in json.loads(file.read_text(encoding="utf-8")).items()} if file.is_file() else {}

    def champion(self, name: str) -> Champion | None:
        """Return where the pointer stands, or None where no version was ever promoted."""
        moves = self._moves(name)
        if not moves:
            return None
        number = max(moves)
        raw = json.loads(moves[number].read_text(encoding="utf-8"))
        return Champion(number, str(raw["version"]), str(raw["reason"]))

    def champion_folder(self, name: str) -> Path:
        """Return the model folder of the champion. Raises ModelVersionNotFoundError where there is none."""
        champion = self.champion(name)
        if champion is None:
            known = ", ".join(self.versions(name)) or "none"
            raise ModelVersionNotFoundError(
                f"{self.root}: model {name!r} has no champion; train and promote one, name one of its versions as "
                f"{REGISTRY_PREFIX}{name}@VERSION (known: {known}), or name a model directory"
            )
        return self.model_folder(name, champion.version)

    def resolve(self, reference: str) -> Path:
        """Return the checked model folder of `registry:NAME` (its champion) or `registry:NAME@VERSION`.

        Raises ModelVersionNotFoundError, ModelVersionSpoiledError, and ConfigError on a name that is none.
        """
        name, at, version = reference.removeprefix(REGISTRY_PREFIX).partition("@")
        _check_name(name, _NAME, "model")
        if not at:
            return self.champion_folder(name)
        _check_name(version, _NAME_OF_VERSION, "version")
        return self.model_folder(name, version)

    def every_version(self) -> list[ModelVersion]:
        """Return the manifests of all versions of all models, in the order of their names."""
        names = sorted(p.name for p in self.root.iterdir() if p.is_dir()) if self.root.is_dir() else []
        return [self.read(name, version) for name in names for version in self.versions(name)]

    def forget_cases(self, users: Collection[str]) -> int:
        """Take the cases of these users out of all measurements, and return their number; what models learned stays.

        The one thing in a registry that is ever changed: whoever asks to be forgotten is no case any more.
        """
        taken = 0
        for file in sorted(self.root.glob("*/versions/*/cases/*.json")):
            cases = json.loads(file.read_text(encoding="utf-8"))
            kept = {case: value for case, value in cases.items() if case not in users}
            if len(kept) < len(cases):
                taken += len(cases) - len(kept)
                _write_json(file, kept)
        return taken

    def point_to(self, name: str, version: str, reason: str, after: Champion | None) -> Champion:
        """Move the pointer to a version, provided that it still stands at `after`.

        Raises AnotherPromotionWonError where it has moved since, ModelVersionNotFoundError on an unknown version.
        """
        self.model_folder(name, version)
        number = after.number + 1 if after is not None else 1
        folder = self.root / name / "champions"
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=folder, prefix=".moving-", encoding="utf-8") as stream:
            json.dump({"version": version, "reason": reason}, stream)
            stream.flush()
            # The night may run under another account than training, and after a power cut.
            os.fchmod(stream.fileno(), 0o644)
            os.fsync(stream.fileno())
            try:
                os.link(stream.name, folder / f"{number:06d}.json")  # whole or not at all, and never over another
            except FileExistsError as error:
                raise AnotherPromotionWonError(
                    f"{self.root}: the champion of {name!r} moved while version {version} was compared with it; "
                    "compare again"
                ) from error
        return Champion(number, version, reason)

    def _moves(self, name: str) -> dict[int, Path]:
        return {int(path.stem): path for path in (self.root / name / "champions").glob("[0-9]*.json")}

    def _folder(self, name: str, version: str) -> Path:
        return self.root / name / "versions" / version


def name_of_folder(folder: Path) -> str:
    """Return `NAME@VERSION` where `folder` holds the files of a registered version, else nothing."""
    version, versions, name = folder.parent, folder.parent.parent, folder.parent.parent.parent
    is_version = folder.name == "model" and versions.name == "versions" and (version / "manifest.json").is_file()
    return f"{name.name}@{version.name}" if is_version else ""


def align(first: Cases, second: Cases) -> tuple[np.ndarray, np.ndarray]:
    """Return two versions' values on the cases that both have, in the same order (float64)."""
    common = sorted(first.keys() & second.keys())
    return np.array([first[key] for key in common]), np.array([second[key] for key in common])


def _check_name(name: str, pattern: re.Pattern[str], what: str) -> None:
    if not pattern.match(name):
        raise ConfigError(f"{what} name {name!r}: letters, digits, _ and - only")


def _hash(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _write_json(file: Path, content: Mapping[str, float]) -> None:
    file.write_text(json.dumps(content, ensure_ascii=False) + "\n", encoding="utf-8")
