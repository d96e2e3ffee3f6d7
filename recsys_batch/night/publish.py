"""Stage `publish`: the staged rows are audited against every gate, then published in one release."""

from collections.abc import Iterable

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from recsys_batch.contracts.columns import Tables
from recsys_batch.contracts.config.load import hash_config
from recsys_batch.contracts.config.night import Config
from recsys_batch.contracts.gates import Check, at_least, refuse_blocked
from recsys_batch.contracts.identity import code_version
from recsys_batch.night.context import Run, log
from recsys_batch.night.inputs import never_ending_the_night
from recsys_batch.night.measure import GATE, measure_lists_out
from recsys_batch.night.rank import encoder_name
from recsys_batch.night.retrieve import excludes, profiles_of
from recsys_batch.spark.lake.tables import Lake
from recsys_batch.spark.publish.arms import by_arm
from recsys_batch.spark.publish.gates import Expectation, check_concentration, check_lists, with_room
from recsys_batch.spark.publish.release import Release, read_staged, record_checks
from recsys_batch.spark.publish.release import publish as publish_release
from recsys_batch.training.registry.versions import name_of_folder


def publish(run: Run) -> None:
    """Audit the staged rows, then publish them. Raises GateFailedError and AnotherPublisherWonError."""
    audit(run)
    with run.telling("publish"):
        _release(run)


def audit(run: Run) -> None:
    """Read the staged rows back and hold them against the gates. Raises GateFailedError."""
    measured: list[Check] = []
    with run.telling("publish"):
        checks = _check(run)
        with never_ending_the_night("what came of earlier lists"):
            measured = measure_lists_out(run)
    checks += [check for check in measured if check.check.endswith(GATE)]
    # An arm without users is no fault of its lists, but nothing to compare.
    checks += [
        at_least(Tables.USER_RECOMMENDATIONS, f"lists[{arm}]", number, 1, "warn")
        for arm, number in run.facts.arm_lists.items()
    ]
    run.summary.checks.extend(checks)
    figures = [check for check in measured if not check.check.endswith(GATE)]
    record_checks(run.lake, run.ds, run.run_id, "publish", [*checks, *figures])
    for check in checks:
        if check.verdict == "warn":
            log.warning("%s", check.describe())
    refuse_blocked(checks, run.run_id)


def _check(run: Run) -> list[Check]:
    checks: list[Check] = []
    items = run.items().select("item_index", "item_id", "eligible").persist()
    for table in run.facts.num_rows:
        log.info("publish: checking %s", table)
        run.ticker.begin(f"checking {table}")
        staged = read_staged(run.lake, table, run.run_id)
        checks += check_lists(staged, items, _expectation(run, table, items))
        if table == Tables.USER_RECOMMENDATIONS:
            eligible, gates = int(run.summary.counts["prepare.items_eligible"]), run.config.gates
            checks += check_concentration(staged, table, eligible, gates.max_top_share, gates.min_shown_share)
    items.unpersist()
    return checks


def _release(run: Run) -> None:
    """Publish the audited rows; the run's id is the release's."""
    tables = tuple(run.facts.num_rows)
    log.info("publish: %s", ", ".join(tables))
    run.ticker.begin(f"publishing {', '.join(tables)}")
    row = publish_release(
        run.lake,
        Release(
            release_id=run.run_id,
            ds=run.ds,
            run_id=run.run_id,
            action="publish",
            row_counts=run.facts.num_rows,
            gates=tuple(run.summary.checks),
            input_versions=run.inputs,
            config_hash=hash_config(run.config),
            code_version=code_version(),
            model_versions=_model_versions(run),
            replaces=run.replaces,
            prepared_run=run.maker_of("prepare"),
            lists=tables,
        ),
    )
    register(run.lake, run.config, tables)
    run.summary.release_id = row.release_id
    run.summary.tables = dict(row.tables)


def _model_versions(run: Run) -> dict[str, str]:
    ranker = {"ranker": name_of_folder(run.ranker)} if run.ranker is not None else {}
    return {"encoder": encoder_name(run), **ranker}


def register(lake: Lake, config: Config, tables: Iterable[str]) -> None:
    """Name the published tables in the catalog, where the config gives a schema; those that stand there stay."""
    if config.lake.catalog_schema:
        # The rows stand published by now; the next run of the date tries again.
        with never_ending_the_night(f"the registration in {config.lake.catalog_schema}"):
            lake.register((*tables, Tables.RELEASES, Tables.QUALITY_METRICS), config.lake.catalog_schema)


def _expectation(run: Run, table: str, items: DataFrame) -> Expectation:
    gates, rules = run.config.gates, run.config.rerank
    profiles = profiles_of(run, table)
    is_user = table == Tables.USER_RECOMMENDATIONS
    lengths = _arm_lengths(run) if is_user else {}
    top_n = max(lengths.values(), default=rules.top_n)
    wanted = by_arm(F.col("key"), run.config.experiment, lengths) if run.config.experiment and lengths else None
    return Expectation(
        table=table,
        top_n=top_n,
        min_full_share=gates.min_full_share,
        keys=with_room(profiles, items, top_n, wanted),
        forbidden=_forbidden(profiles, items) if not rules.allow_repeats or excludes(run, table) else None,
        forbidden_name=_forbidden_name(run, table),
        min_coverage=gates.min_user_coverage,
        max_fallback_share=gates.max_fallback_share if is_user else 1.0,
    )


def _arm_lengths(run: Run) -> dict[str, int]:
    """Return how long the lists of each arm are; nothing without an experiment."""
    experiment, rules = run.config.experiment, run.config.rerank
    return {arm.name: arm.applied_to(rules, "rerank").top_n for arm in experiment.arms} if experiment else {}


def _forbidden_name(run: Run, table: str) -> str:
    if not excludes(run, table):
        return "items_already_bought"
    return "items_excluded" if run.config.rerank.allow_repeats else "items_already_bought_or_excluded"


def _forbidden(profiles: DataFrame, items: DataFrame) -> DataFrame:
    seen = profiles.select("key", F.explode("seen").alias("item_index"))
    return seen.join(items.select("item_index", F.col("item_id").alias("item")), "item_index").select("key", "item")
