"""The night on one screen: prepare, encode, retrieve, rank, rerank, publish for one business date."""

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date

from pyspark.sql import Row, SparkSession

from recsys_batch.contracts.config import Config
from recsys_batch.contracts.errors import AlreadyPublishedError, ConfigError
from recsys_batch.contracts.identity import identify, new_run_id
from recsys_batch.contracts.load import hash_config
from recsys_batch.night.context import Run
from recsys_batch.night.encode import encode
from recsys_batch.night.prepare import prepare
from recsys_batch.night.publish import audit, release
from recsys_batch.night.rank import rank, rerank
from recsys_batch.night.retrieve import retrieve
from recsys_batch.report.summary import RunSummary
from recsys_batch.spark.inputs.sources import read_table, version_of
from recsys_batch.spark.lake.runs import find_unfinished, record_stage, record_status
from recsys_batch.spark.lake.tables import Lake
from recsys_batch.spark.publish.release import latest_release, roll_forward
from recsys_batch.spark.session import night_settings, with_settings
from recsys_batch.training.registry.find import find_encoder

log = logging.getLogger("recsys_batch.night")

STAGES: dict[str, Callable[[Run], None]] = {
    "prepare": prepare,
    "encode": encode,
    "retrieve": retrieve,
    "rank": rank,
    "rerank": rerank,
    "publish": audit,
}


@dataclass(frozen=True)
class NightOptions:
    """How to run, as against what to compute: nothing here changes a row."""

    stage: str = ""
    """Run this stage alone, on the unfinished run of the same inputs and config."""
    resume: bool = False
    """Go on with the unfinished run of the same inputs and config, where there is one."""
    force: bool = False
    """Compute and publish again although the date is published."""
    dry_run: bool = False
    """Check config, inputs and model, write nothing."""
    publish: bool = True
    """Whether the audited rows are published; otherwise they stay staged."""


def run_night(spark: SparkSession, config: Config, ds: date, options: NightOptions, summary: RunSummary) -> None:
    """Run the night for `ds`, filling `summary` as it goes. Raises the errors of `contracts.errors`."""
    lake = Lake.at(spark, config.lake.root)
    encoder, fingerprint = find_encoder(config)
    inputs, input_bytes = _resolve_inputs(spark, config, ds)
    if options.dry_run:
        summary.state, summary.message = (
            "checked",
            f"dry run: {ds} would be written to {lake.root}; nothing was written",
        )
        return
    with with_settings(spark, night_settings(input_bytes)):
        rolled = roll_forward(lake, ds)
        if rolled:
            log.info("finished the publication of run %s that was cut short", rolled)
        previous = latest_release(lake, ds)
        identity = identify(ds, hash_config(config), inputs, {"encoder": fingerprint})
        if previous is not None and not options.force and not options.stage:
            _already_published(config, ds, previous, inputs, summary)
            return
        run_id, done = _choose_run(lake, ds, identity, options)
        summary.run_id = run_id
        run = Run(spark, config, ds, lake, run_id, encoder, fingerprint, summary)
        with _leaving_status(run):
            _run_stages(run, options, identity, done, inputs, previous.release_id if previous is not None else None)


def _run_stages(
    run: Run,
    options: NightOptions,
    identity: str,
    done: Mapping[str, Mapping[str, float]],
    inputs: Mapping[str, str],
    replaces: str | None,
) -> None:
    """Run the stages that are not `done`, and publish in place of release `replaces` where the options say so."""
    summary = run.summary
    for name, stage in STAGES.items():
        if name in done or (options.stage and name != options.stage):
            summary.counts.update(done.get(name, {}))
            continue
        started = time.monotonic()
        log.info("run %s: %s", run.run_id, name)
        stage(run)
        if name == "publish" and options.publish:
            release(run, inputs, replaces)
        seconds = summary.stages[name] = time.monotonic() - started
        if name == "publish" and not options.publish:
            break  # audited but not published: a later --resume publishes
        counts = {key: value for key, value in summary.counts.items() if key.startswith(f"{name}.")}
        record_stage(run.lake, run.ds, run.run_id, identity, name, seconds, counts, finished=bool(summary.release_id))
    summary.state = "published" if summary.release_id else "staged"


@contextmanager
def _leaving_status(run: Run) -> Iterator[None]:
    """Append the run's row of `run_status` when the block ends, however it ends."""
    summary = run.summary
    try:
        yield
    except Exception as error:
        message = f"{type(error).__name__}: {error}"
        try:
            record_status(run.lake, run.ds, run.run_id, "failed", message, summary.stages, summary.counts)
        except Exception:  # the run's own error is what the operator must see
            log.exception("run %s failed, and its row of run_status could not be written", run.run_id)
        raise
    record_status(run.lake, run.ds, run.run_id, summary.state, summary.message, summary.stages, summary.counts)


def _resolve_inputs(spark: SparkSession, config: Config, ds: date) -> tuple[dict[str, str], int]:
    """Resolve every source and expression, so that a wrong one ends the run at once; return versions and bytes."""
    tables = {name: getattr(config.sources, name) for name in ("events", "items", "reviews", "requests")}
    for name, sources in tables.items():
        if sources:
            read_table(spark, name, sources, ds)
    found = {name: version_of(spark, sources, ds) for name, sources in tables.items() if sources}
    return {name: version for name, (version, _) in found.items()}, sum(length for _, length in found.values())


def _already_published(config: Config, ds: date, previous: Row, inputs: dict[str, str], summary: RunSummary) -> None:
    if previous.config_hash != hash_config(config):
        raise AlreadyPublishedError(
            f"ds {ds}: published by run {previous.run_id} under another config (hash {previous.config_hash[:8]}, now "
            f"{hash_config(config)[:8]}); pass --force to publish it again under this one"
        )
    summary.run_id, summary.release_id, summary.state = previous.run_id, previous.release_id, "already published"
    summary.tables = dict(previous.tables)
    summary.message = f"ds {ds}: already published by run {previous.run_id}; --force publishes it again"
    if dict(previous.input_versions) != inputs:
        summary.message += " (the inputs have changed since)"


def _choose_run(lake: Lake, ds: date, identity: str, options: NightOptions) -> tuple[str, dict[str, dict[str, float]]]:
    """Return the run to work on and its finished stages with their counts."""
    unfinished = find_unfinished(lake, ds, identity) if options.resume or options.stage else None
    if unfinished is None:
        if options.stage and options.stage != next(iter(STAGES)):
            raise ConfigError(
                f"--stage {options.stage}: no unfinished run of {ds} with the same inputs, config and code to work on; "
                "run the earlier stages first, or leave --stage out"
            )
        return new_run_id(ds, identity), {}
    run_id, done = unfinished
    if not options.stage:
        return run_id, done
    earlier = list(STAGES)[: list(STAGES).index(options.stage)]
    if lacking := [name for name in earlier if name not in done]:
        raise ConfigError(f"--stage {options.stage}: run {run_id} has not finished {lacking[0]}; run that stage first")
    return run_id, {name: counts for name, counts in done.items() if name in earlier}
