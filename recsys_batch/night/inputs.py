"""What every input table goes through in `prepare`: rows counted by status, refused ones kept, expectations judged.

What was found is shown on one page, also (and above all) where an input is refused.
"""

import logging
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from functools import cached_property

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from recsys_batch.contracts.columns import Inputs
from recsys_batch.contracts.config.night import Source
from recsys_batch.contracts.data_profile import TableProfile, mask_id
from recsys_batch.contracts.gates import Check, refuse_unmet
from recsys_batch.night.context import Run
from recsys_batch.report.profile import profile_page
from recsys_batch.rules.expectations import evaluate_expectations, expectations_of
from recsys_batch.rules.pseudonyms import read_key
from recsys_batch.spark.inputs.expectations import measure
from recsys_batch.spark.inputs.notes import CUT, NOTES, REUSED, UNREAD, count_notes
from recsys_batch.spark.inputs.profile import profile_table
from recsys_batch.spark.inputs.quarantine import NOT_QUARANTINED, STATUS, USED, quarantine
from recsys_batch.spark.inputs.suppression import Suppression, read_suppression
from recsys_batch.spark.inputs.values import IDS
from recsys_batch.spark.lake.files import write_text
from recsys_batch.spark.publish.release import record_checks

log = logging.getLogger("recsys_batch.night")
_JUDGED = ("events", "items", "reviews")
# Check of an expectation -> the notes that it counts.
_NOTES_OF = {"unread_share": UNREAD, "reused_id_share": REUSED}
_HINTS = {
    UNREAD: "{column}: {rows} given value(s) cannot be read as {kind}, such as {examples}; say how the source writes "
    "them (`read_as: {{{name}: ...}}`), or turn them in `select`",
    CUT: "{column}: {rows} text(s) were cut, of lengths such as {examples}",
    REUSED: "{column}: {rows} event(s) have the id of another event of their user, such as {examples}; they are kept",
}


@dataclass
class Intake:
    """The inputs of one run, settled one after the other."""

    run: Run
    profiles: list[TableProfile] = field(default_factory=list)

    @cached_property
    def user_key(self) -> bytes | None:
        """The secret that user ids are hashed with, or None."""
        variable = self.run.config.prepare.pseudonymize_with
        return read_key(variable, os.environ) if variable else None

    @cached_property
    def suppression(self) -> Suppression:
        """The users whose rows are left out of every input."""
        return read_suppression(self.run.lake, self.run.config, os.environ)

    def settle(self, table: str, classified: DataFrame, left_out: Mapping[str, int] | None = None) -> DataFrame:
        """Count every status, keep the refused rows, judge the expectations, and return the used rows.

        `left_out` counts rows that are not in `classified` because the date does not concern them. Raises
        IncompleteInputError or ExpectationFailedError where an expectation blocks.
        """
        run = self.run
        run.ticker.begin(f"counting and judging {table}")
        on_ds = F.count_if(happened_on(run.ds)) if table == "events" else F.lit(0)
        noted = F.count_if(F.col(NOTES).isNotNull()).alias("noted")
        rows = classified.groupBy(STATUS).agg(F.count("*").alias("rows"), on_ds.alias("on_ds"), noted).collect()
        counts = {row[STATUS]: row.rows for row in rows}
        if table == "events":
            run.summary.count("prepare", events_on_ds=sum(row.on_ds for row in rows if row[STATUS] == USED))
        for status, number in (left_out or {}).items():
            counts[status] = counts.get(status, 0) + number
        refused = {status: n for status, n in sorted(counts.items()) if status not in NOT_QUARANTINED}
        run.summary.count(
            "prepare",
            **{f"{table}_read": sum(counts.values())},
            **{f"{table}_{status}": counts.get(status, 0) for status in NOT_QUARANTINED},
            **{f"{table}_quarantined_{status}": number for status, number in refused.items()},
        )
        log.info(
            "prepare: %s: %s rows read, %s used, %s refused",
            table,
            f"{sum(counts.values()):,}",
            f"{counts.get(USED, 0):,}",
            f"{sum(refused.values()):,}",
        )
        quarantine(run.lake, f"{table}_quarantine", classified, run.ds, run.run_id, sum(refused.values()))
        if table in _JUDGED:
            if run.config.prepare.profile:
                with never_ending_the_night(f"the data profile of {table}"):
                    profile = profile_table(classified, table, run.ds, run.config.prepare)
                    self.profiles.append(replace(profile, statuses={**profile.statuses, **(left_out or {})}))
            hints = self._tell_notes(table, classified) if any(row.noted for row in rows) else {}
            self._judge(table, classified, hints)
        return classified.where(F.col(STATUS) == USED).drop(STATUS, NOTES)

    def _tell_notes(self, table: str, classified: DataFrame) -> dict[tuple[str, str], str]:
        """Log and count what was wrong with single values, with the first of them; return the words for each."""
        hints: dict[tuple[str, str], str] = {}
        for found in count_notes(classified):
            self.run.summary.count("prepare", **{f"{table}_{found.note}_{found.column}": found.rows})
            # A wrong number or time must be seen to be mended; an id is a person's.
            is_id = found.column in IDS
            examples = ", ".join(repr(mask_id(value) if is_id else value) for value in found.examples)
            hint = hints[found.note, found.column] = _HINTS[found.note].format(
                column=f"{table}.{found.column}",
                rows=f"{found.rows:,}",
                examples=examples,
                kind=Inputs.TYPES[table][found.column],
                name=found.column,
            )
            log.warning("%s", hint)
        return hints

    def close(self) -> None:
        """Record the verdicts and write the data profile of the inputs settled so far, as HTML that opens anywhere.

        Neither ends the night, nor takes the place of the error that did.
        """
        run = self.run
        checks = run.facts.input_checks
        with never_ending_the_night("quality_metrics"):
            if checks:
                record_checks(run.lake, run.ds, run.run_id, "prepare", checks)
        with never_ending_the_night("the data profile"):
            if self.profiles:
                title = f"{run.config.name} {run.ds}{run.config.prepare.zone_note}"
                target = f"{run.lake.path('profiles')}/{run.ds.isoformat()}.html"
                write_text(run.spark, target, profile_page(self.profiles, title, checks))
                run.summary.report = target
                log.info("data profile: %s", target)

    def _judge(self, table: str, classified: DataFrame, hints: Mapping[tuple[str, str], str]) -> None:
        run, declared = self.run, self.run.config.expectations
        given = {column for source in getattr(run.config.sources, table) for column in source.select}
        expectations = [
            each
            for each in expectations_of(table, getattr(declared, table), declared.defaults)
            if each.check != "unread_share" or each.column in given
        ]
        if not expectations:
            return
        measured = measure(classified, table, expectations, run.ds, run.config.prepare)
        judged = [
            replace(each, hint=hints.get((_NOTES_OF.get(e.check, ""), e.column or "event_id"), ""))
            for e, each in zip(expectations, evaluate_expectations(expectations, measured), strict=True)
        ]
        self.note(each.check for each in judged)
        refuse_unmet(judged, run.run_id)

    def note(self, checks: Iterable[Check]) -> None:
        """Keep verdicts for the summary, the page and `quality_metrics`."""
        noted = list(checks)
        self.run.facts.input_checks.extend(noted)
        self.run.summary.checks.extend(noted)


@contextmanager
def never_ending_the_night(report: str) -> Iterator[None]:
    """Log an error of the block, which only reports, and go on."""
    try:
        yield
    except Exception:  # whatever it is: what is reported on is in order
        log.exception("%s could not be written; the night goes on", report)


def happened_on(ds: date) -> Column:
    """Whether an event is of the business date."""
    return (F.col("event_time") >= F.lit(ds)) & (F.col("event_time") < F.lit(ds + timedelta(days=1)))


def write(run: Run, table: str, frame: DataFrame) -> DataFrame:
    """Write the run's slice of a prepared table, say so, and return it."""
    log.info("prepare: writing %s", table)
    return run.write_prepared(table, frame)


def paths(sources: Sequence[Source]) -> str:
    """Return the paths of the sources, for messages."""
    return ", ".join(source.path for source in sources)
