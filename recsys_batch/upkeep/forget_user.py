"""Users forgotten: kept out of every later night, deleted from every table, and a scan of all files as the proof.

The order makes a job that was cut short harmless: the suppression list comes first, so no night brings back what is
deleted after it, and the same command goes on. Raw ids are in the memory of this job and its workers only.
"""

import logging
import os
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path

import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from recsys_batch.contracts.columns import Tables
from recsys_batch.contracts.config.night import Config
from recsys_batch.contracts.errors import ConfigError
from recsys_batch.contracts.example_schemas import examples_folder
from recsys_batch.contracts.schemas import FORGET_CERTIFICATES_DDL
from recsys_batch.report.summary import RunSummary
from recsys_batch.rules.pseudonyms import pseudonymize, read_key
from recsys_batch.rules.suppression import suppression_hash
from recsys_batch.rules.texts.clean import canonicalize_ids
from recsys_batch.spark.apply import map_batches
from recsys_batch.spark.inputs.suppression import read_suppression, suppress, suppression_key
from recsys_batch.spark.lake.files import delete_folder, every_file, list_folders
from recsys_batch.spark.lake.manifests import remove_manifest
from recsys_batch.spark.lake.runs import RUNS
from recsys_batch.spark.lake.tables import Lake
from recsys_batch.spark.maintain.forget import (
    count_rows,
    dates_of,
    delete_rows,
    delta_tables,
    keep_users_out_of_bounds,
    settle_releases,
)
from recsys_batch.spark.session import make_frame
from recsys_batch.training.registry.find import open_registry
from recsys_batch.training.registry.versions import Registry
from recsys_batch.workers.find_ids import FindIds

log = logging.getLogger("recsys_batch.night")

# The columns whose values are a user's, where an id is an item's too.
_OF_USERS = frozenset({"user_id", "session_id", "event_id", "key"})
_NAMED_FILES = 20


@dataclass(frozen=True)
class Person:
    """A user to forget."""

    user_hash: str
    names: tuple[str, ...] = field(repr=False)
    """All that stands for the user in the lake: the id as given, canonical, and its pseudonym."""


@dataclass(frozen=True)
class _Found:
    """What the scan came to."""

    files: int
    length: int
    by_person: Mapping[int, list[str]]
    """Number of a person -> files that show one of the names."""


def read_ids(ids: Sequence[str], file: str) -> list[str]:
    """Return the ids of the options and of a file with one a line. Raises ConfigError where there are none."""
    found = list(ids)
    if file:
        try:
            found += Path(file).read_text(encoding="utf-8").splitlines()
        except OSError as error:
            raise ConfigError(f"--users-file {file}: {error.strerror}") from None
    found = [each for each in found if each.strip()]
    if not found:
        raise ConfigError("nobody to forget: give --user ID, or --users-file with one id a line")
    return found


def find_people(ids: Sequence[str], config: Config, key: bytes, environ: Mapping[str, str]) -> list[Person]:
    """Return the users of these ids, each once."""
    canonical = canonicalize_ids(pa.array(ids, pa.string()), config.prepare.id_case)
    names: dict[str, list[str]] = {}
    for given, id_ in zip(ids, canonical.to_pylist(), strict=True):
        if id_ is not None:
            # Where case is no difference, other columns may have the id in another one.
            forms = [id_, id_.lower(), id_.upper()] if config.prepare.id_case != "keep" else [id_]
            names.setdefault(id_, forms).append(given.strip())
    if variable := config.prepare.pseudonymize_with:
        made = pseudonymize(pa.array(list(names), pa.string()), read_key(variable, environ)).to_pylist()
        for id_, pseudonym in zip(list(names), made, strict=True):
            names[id_].append(pseudonym)
    return [Person(suppression_hash(id_, key), tuple(dict.fromkeys(each))) for id_, each in names.items()]


def forget_users(lake: Lake, config: Config, ids: Sequence[str], summary: RunSummary, dry_run: bool = False) -> None:
    """Forget the users, filling `summary`; with `dry_run` only count their rows.

    Raises ConfigError where there is no key for the suppression list, or it was made with another one. To be run where
    no night runs: what runs left to go on from is removed.
    """
    key = suppression_key(config, os.environ)
    read_suppression(lake, config, os.environ)
    people = find_people(ids, config, key, os.environ)
    frame = make_frame(lake.spark, [(name,) for person in people for name in person.names], "id STRING").distinct()
    started = time.monotonic()
    tables = delta_tables(lake)
    rows = {name: number for name in tables if (number := count_rows(lake, name, frame))}
    models = _models_with(lake, config, tables, frame)
    summary.count("forget", users=len(people), **{f"rows in {name}": number for name, number in rows.items()})
    summary.stages["count"] = time.monotonic() - started
    if dry_run:
        summary.state, summary.message = "checked", "dry run: the counts say what would be deleted; nothing was changed"
        return
    started = time.monotonic()
    suppress(lake, {person.user_hash for person in people}, key)
    _purge(lake, config, rows, frame, people)
    purged_at = datetime.now(UTC)
    summary.stages["delete"] = time.monotonic() - started
    started = time.monotonic()
    found = _scan(lake, people, frame)
    summary.stages["scan"] = time.monotonic() - started
    proven = _certify(lake, people, purged_at, rows, models, found)
    summary.count("forget", files_scanned=found.files, megabytes_scanned=found.length / 2**20, users_proven=proven)
    summary.state = "done"
    summary.message = _message(people, proven, models)
    log.info("%s", summary.message)


def _message(people: Sequence[Person], proven: int, models: Sequence[str]) -> str:
    said = f"{proven} of {len(people)} users are in no file of the lake ({Tables.FORGET_CERTIFICATES})"
    if proven < len(people):
        said += (
            "; of the others files of older table versions are left, which jobs/maintain.py deletes when the tables' "
            "delta.deletedFileRetentionDuration (7 days unless set) has passed: run this command again after it"
        )
    if models:
        said += f"; models that learned from them: {', '.join(models)}"
    return said


def _purge(lake: Lake, config: Config, rows: Mapping[str, int], ids: DataFrame, people: Sequence[Person]) -> None:
    keep_users_out_of_bounds(lake)
    # No dataset may be trained on whose manifest counts rows that are gone.
    for name in rows:
        folder, _, rest = name.partition("/")
        if folder == Tables.DATASETS and not rest.startswith("labels/"):
            for ds in dates_of(lake, name, ids)[0]:
                split = rest.partition("/")[0]
                remove_manifest(lake, split, ds)
                delete_folder(lake.spark, lake.path(examples_folder(split, ds)))
    for name in rows:
        delete_rows(lake, name, ids)
        log.info("%s: %d rows deleted", name, rows[name])
    settle_releases(lake)
    # What runs left names users in many places, and no run goes on from half of it. Runs after that never saw them.
    if rows or not _are_certified(lake, people):
        for run_id in list_folders(lake.spark, lake.path(RUNS)):
            delete_folder(lake.spark, lake.path(f"{RUNS}/{run_id}"))
    if (registry := _registry(config)) is not None:
        registry.forget_cases({name for person in people for name in person.names})


def _are_certified(lake: Lake, people: Sequence[Person]) -> bool:
    """Whether an earlier run of the job came to its end for all of them."""
    if not lake.exists(Tables.FORGET_CERTIFICATES):
        return False
    known = lake.read(Tables.FORGET_CERTIFICATES).select("user_hash").distinct().collect()
    return {person.user_hash for person in people} <= {row.user_hash for row in known}


def _registry(config: Config) -> Registry | None:
    """Return the registry of the shop's models; None where the config has none that this machine can open."""
    try:
        return open_registry(config)
    except ConfigError as error:
        log.warning("models are not looked at: %s", error)
        return None


def _models_with(lake: Lake, config: Config, tables: Sequence[str], ids: DataFrame) -> list[str]:
    """Return the registered versions that learned from the users, or may have, as far as can still be told."""
    held: set[date] = set()
    known: set[date] = set()
    for name in tables:
        if name == Tables.INTERACTIONS or name.startswith(f"{Tables.DATASETS}/"):
            of_users, every = dates_of(lake, name, ids)
            held, known = held | of_users, known | every
    found: dict[str, str] = {}
    registry = _registry(config)
    versions = registry.every_version() if registry is not None else []
    for manifest in versions:
        ds = manifest.data.get("ds")
        if ds is None or date.fromisoformat(str(ds)) in held:
            found[f"{manifest.name}/{manifest.version}"] = "" if ds else " (its data names no date)"
        elif date.fromisoformat(str(ds)) not in known:
            found[f"{manifest.name}/{manifest.version}"] = f" (its data of {ds} is gone)"
    while made := [m for m in versions if f"{m.name}/{m.version}" not in found and set(m.parents) & set(found)]:
        found |= {f"{m.name}/{m.version}": " (made from one that did)" for m in made}
    return [name + why for name, why in sorted(found.items())]


def _scan(lake: Lake, people: Sequence[Person], ids: DataFrame) -> _Found:
    """Look for every name in every file below the lake's root."""
    files = every_file(lake.spark, lake.root)
    is_item = lake.exists(Tables.ID_INDICES) and not (
        lake.read(Tables.ID_INDICES).where("kind = 'item'").join(F.broadcast(ids), "id", "left_semi").isEmpty()
    )
    task = FindIds(tuple(person.names for person in people), _OF_USERS if is_item else frozenset())
    frame = make_frame(lake.spark, files, "path STRING, length BIGINT")
    tasks = 4 * max(lake.spark.sparkContext.defaultParallelism, 1)
    found: dict[int, list[str]] = {}
    for row in map_batches(frame.repartition(tasks), task).where(F.size("found") > 0).orderBy("path").collect():
        for number in row.found:
            found.setdefault(number, []).append(_below(lake.root, row.path))
    return _Found(len(files), sum(length for _, length in files), found)


def _below(root: str, path: str) -> str:
    """Return where below the root a file lies; Hadoop writes local paths with one slash or with three."""
    root, path = (re.sub("^file:/+", "/", each) for each in (root, path))
    return path.removeprefix(f"{root}/")


def _certify(
    lake: Lake,
    people: Sequence[Person],
    purged_at: datetime,
    rows: Mapping[str, int],
    models: Sequence[str],
    found: _Found,
) -> int:
    """Append one row a user; return how many are in no file."""
    now = datetime.now(UTC)
    certificates = []
    for number, person in enumerate(people):
        files = found.by_person.get(number, [])
        state = "pending" if files else "proven"
        told = (found.files, found.length, len(files), files[:_NAMED_FILES], now)
        certificates.append((person.user_hash, state, purged_at, dict(rows), list(models), *told))
        for file in files[:_NAMED_FILES]:
            log.info("user %s...: still in %s", person.user_hash[:12], file)
    lake.append(Tables.FORGET_CERTIFICATES, make_frame(lake.spark, certificates, FORGET_CERTIFICATES_DDL))
    return len(people) - len(found.by_person)
