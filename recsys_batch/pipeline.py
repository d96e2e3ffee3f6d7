"""The night on one screen: prepare, encode, retrieve, rank, publish for one business date."""

import hashlib
import logging
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import date

from pyspark.sql import DataFrame, Row, SparkSession

from recsys_batch.contracts.columns import Inputs
from recsys_batch.contracts.config.experiment import BLEND_KEYS
from recsys_batch.contracts.config.load import hash_config, hash_settings
from recsys_batch.contracts.config.night import Config
from recsys_batch.contracts.config.search import READING_KEYS
from recsys_batch.contracts.errors import AlreadyPublishedError, ConfigError, StagedRowsMissingError
from recsys_batch.contracts.identity import identify
from recsys_batch.contracts.run_facts import STAGE_NAMES, NightOptions
from recsys_batch.night.check_config import resolve_inputs
from recsys_batch.night.context import Run
from recsys_batch.night.encode import encode
from recsys_batch.night.plan import RANK, Plan, Stage, identities_of, plan_one, plan_rest, plan_whole
from recsys_batch.night.prepare import prepare
from recsys_batch.night.prepare_events import refuse_empty_day
from recsys_batch.night.publish import audit, publish, register
from recsys_batch.night.rank import rank
from recsys_batch.night.retrieve import RETRIEVE, retrieve
from recsys_batch.report.preview import print_previews
from recsys_batch.report.progress import open_console
from recsys_batch.report.summary import RunSummary
from recsys_batch.rules.pseudonyms import read_key
from recsys_batch.spark.causes import naming_causes
from recsys_batch.spark.inputs.preview import preview_source
from recsys_batch.spark.inputs.sources import version_of
from recsys_batch.spark.lake.runs import record_stage, record_status, start_run
from recsys_batch.spark.lake.tables import Lake
from recsys_batch.spark.publish.release import describe_release, give_up_claim, latest_release, roll_forward
from recsys_batch.spark.session import is_local, is_small, local_time, night_settings, warm_workers, with_settings
from recsys_batch.training.registry.find import find_encoder, find_ranker
from recsys_batch.training.registry.versions import name_of_folder

log = logging.getLogger("recsys_batch.night")

STAGES = (
    Stage(
        "prepare",
        prepare,
        reads=(
            *("name", "seed", "sources", "prepare", "expectations", "item_text", "gates.max_quarantine_share"),
            *("gates.min_items_to_recent", "gates.min_eligible_to_recent"),
            *("rerank.where", "rerank.category_level", "lists.requests"),
        ),
    ),
    Stage("encode", encode, reads=("encoder", "lists.queries", *READING_KEYS)),
    Stage(
        RETRIEVE,
        retrieve,
        reads=(
            *("retrieve", "ranker", "lists", "rerank.allow_repeats"),
            *("search.candidates", "search.acts_half_life_days"),
        ),
        but=BLEND_KEYS,
    ),
    Stage(RANK, rank, reads=("retrieve", "rerank", "experiment", "search.weights")),
    Stage("publish", publish, reads=("gates", "measure", "lake.catalog_schema")),
)


def run_night(spark: SparkSession, config: Config, ds: date, options: NightOptions, summary: RunSummary) -> None:
    """Run the night for `ds`, filling `summary` as it goes. Raises the errors of `contracts.errors`."""
    with with_settings(spark, local_time(config.prepare.timezone)):
        _run_night(spark, config, ds, options, summary)


def _run_night(spark: SparkSession, config: Config, ds: date, options: NightOptions, summary: RunSummary) -> None:
    lake = Lake.at(spark, config.lake.root)
    encoder, fingerprint = find_encoder(config)
    ranker = find_ranker(config)
    inputs, input_bytes, events = _find_inputs(spark, config, ds)
    if options.dry_run:
        _show_inputs(spark, config, ds)
        summary.state, summary.message = (
            "checked",
            f"dry run: {ds} would be written to {lake.root}; nothing was written",
        )
        return
    with with_settings(spark, night_settings(input_bytes)):
        _finish_publication(lake, ds, options)
        previous = latest_release(lake, ds)
        if previous is not None and not options.force and not options.stage:
            _already_published(config, ds, previous, inputs, summary)
            register(lake, config, summary.tables)
            return
        versions = _versions(config, inputs, fingerprint)
        if ranker is not None:
            versions[RANK] = {"ranker": name_of_folder(ranker)}
        plan = _plan(lake, ds, identities_of(STAGES, config, ds, versions), options)
        if is_local(spark):
            warm_workers(spark)
        _refuse_empty_day(plan, events, config, ds)
        summary.run_id = plan.run_id
        replaces = previous.release_id if previous is not None else None
        run = Run(
            *(spark, config, ds, lake, plan.run_id, encoder, fingerprint, summary, ranker, inputs, replaces),
            facts=plan.start_from(),
            is_small=is_small(input_bytes),
        )
        with _leaving_status(run):
            _run_stages(run, plan)


@contextmanager
def open_prepared(
    spark: SparkSession, config: Config, ds: date, summary: RunSummary, reads: Sequence[str] = ()
) -> Iterator[Run]:
    """Give a run of `ds` that stands after `encode`: what earlier runs left is used, what is missing is made.

    It is for work beside the night, which `reads` these blocks and keys of the config: the same ones find the same
    folder again. While it lasts, Spark has the settings of a night and the shop's local time.
    """
    lake = Lake.at(spark, config.lake.root)
    encoder, fingerprint = find_encoder(config)
    with ExitStack() as settings:
        settings.enter_context(with_settings(spark, local_time(config.prepare.timezone)))
        inputs, input_bytes, events = _find_inputs(spark, config, ds)
        settings.enter_context(with_settings(spark, night_settings(input_bytes)))
        stages = STAGES[: [stage.name for stage in STAGES].index(RETRIEVE) + 1]
        identities = identities_of(stages, config, ds, _versions(config, inputs, fingerprint))
        plan = plan_rest(lake, ds, stages, identities)
        # A plan ends with a stage to run, here `retrieve`; what it would run on is what is wanted.
        plan = replace(plan, todo=plan.todo[:-1])
        _refuse_empty_day(plan, events, config, ds)
        summary.run_id = plan.run_id
        run = Run(
            *(spark, config, ds, lake, plan.run_id, encoder, fingerprint, summary, None, inputs),
            facts=plan.start_from(),
            is_small=is_small(input_bytes),
        )
        _run_stages(run, plan)
        identity = identify(ds, "beside", hash_settings(config, reads), {}, identities["encode"])
        yield replace(run, run_id=f"{ds:%Y%m%d}-{identity[:8]}-{identity[8:14]}", kept={}, is_small=False)


def _versions(config: Config, inputs: Mapping[str, str], encoder: str) -> dict[str, Mapping[str, str]]:
    """Return by stage the versions of its inputs, and of the encoder."""
    return {"prepare": {**inputs, **_user_key_version(config)}, "encode": {"encoder": encoder}}


def _refuse_empty_day(plan: Plan, events: DataFrame, config: Config, ds: date) -> None:
    """Refuse a date without events before anything is written for it."""
    if plan.todo and plan.todo[0] is STAGES[0]:
        with naming_causes():
            refuse_empty_day(events, config, ds)


def _finish_publication(lake: Lake, ds: date, options: NightOptions) -> None:
    """Finish a publication that a crash cut short; under `force` give it up where its rows are gone."""
    try:
        rolled = roll_forward(lake, ds)
    except StagedRowsMissingError as error:
        if not options.force:
            raise
        give_up_claim(lake, ds)
        log.warning("gave up the publication that was cut short: %s", error)
    else:
        if rolled:
            log.info("finished the publication of run %s that was cut short", rolled)


def _run_stages(run: Run, plan: Plan) -> None:
    summary, facts = run.summary, run.facts
    for done in plan.reused:
        log.info("run %s: %s of run %s stands", run.run_id, done.stage, done.run_id)
        summary.counts.update(done.counts)
        summary.reused[done.stage] = done.run_id
    summary.checks.extend(facts.input_checks)
    start_run(run.lake, run.run_id)
    for stage in plan.todo:
        started = time.monotonic()
        log.info("run %s: %s", run.run_id, stage.name)
        known = set(summary.counts)
        with naming_causes():
            stage.work(run)
        summary.stages[stage.name] = time.monotonic() - started
        facts.made_by[stage.name] = run.run_id
        counts = {name: number for name, number in summary.counts.items() if name not in known}
        record_stage(run.lake, run.run_id, stage.name, plan.identities[stage.name], counts, facts)
    summary.lists = list(facts.num_profiles)
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


def _find_inputs(spark: SparkSession, config: Config, ds: date) -> tuple[dict[str, str], int, DataFrame]:
    """Resolve every source and expression, so that a wrong one ends the run at once; return versions, bytes, events."""
    frames = resolve_inputs(spark, config, ds)
    found = {name: version_of(spark, getattr(config.sources, name), ds) for name in frames}
    versions = {name: version for name, (version, _) in found.items()}
    return versions, sum(length for _, length in found.values()), frames["events"]


def _show_inputs(spark: SparkSession, config: Config, ds: date) -> None:
    previews = (
        preview_source(spark, table, number, source, ds)
        for table in Inputs.OF_NIGHT
        for number, source in enumerate(getattr(config.sources, table))
    )
    with naming_causes():
        print_previews(previews, ds.isoformat(), config.prepare.timezone, open_console())


def _user_key_version(config: Config) -> dict[str, str]:
    """Return the version of the secret that user ids are hashed with; nothing where they are not."""
    variable = config.prepare.pseudonymize_with
    return {"user_key": hashlib.sha256(read_key(variable, os.environ)).hexdigest()} if variable else {}


def _already_published(config: Config, ds: date, previous: Row, inputs: dict[str, str], summary: RunSummary) -> None:
    by = describe_release(previous)
    if previous.config_hash != hash_config(config):
        raise AlreadyPublishedError(
            f"ds {ds}: {by} under another config (hash {previous.config_hash[:8]}, now "
            f"{hash_config(config)[:8]}); pass --force to publish it again under this one, and --resume to run only "
            "the stages that the change concerns"
        )
    summary.run_id, summary.release_id, summary.state = previous.run_id, previous.release_id, "already published"
    summary.tables = dict(previous.tables)
    summary.message = f"ds {ds}: already {by}; --force publishes it again"
    if dict(previous.input_versions) != inputs:
        summary.message += " (the inputs have changed since)"


def _plan(lake: Lake, ds: date, identities: Mapping[str, str], options: NightOptions) -> Plan:
    """Settle which stages to run, and which of earlier runs to go on from. Raises ConfigError."""
    stages = [replace(each, work=audit) if each.work is publish and not options.publish else each for each in STAGES]
    if not options.stage:
        return plan_rest(lake, ds, stages, identities) if options.resume else plan_whole(ds, stages, identities)
    planned = plan_one(lake, ds, stages, identities, STAGE_NAMES[options.stage])
    if isinstance(planned, str):
        raise ConfigError(
            f"--stage {options.stage}: no run of {ds} with the same inputs, settings and code has finished {planned}; "
            "run that stage first, or leave --stage out"
        )
    return planned
