"""Which nights are retained, and what they use: all that maintenance must leave alone.

Nights are told by the business dates in the tables, never by the clock. Where it is not certain that something is
unused, it counts as used: texts count under every encoder, and all queries of the log count, not only those of the
lists that tonight's config asks for.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from recsys_batch.contracts.columns import Lists, Tables
from recsys_batch.contracts.identity import date_of_run, encoder_version
from recsys_batch.spark.lake.files import folder_state, list_folders
from recsys_batch.spark.lake.runs import RUNS
from recsys_batch.spark.lake.tables import Lake
from recsys_batch.spark.publish.release import staged_name
from recsys_batch.spark.session import make_frame

_DATED = (Tables.ITEMS, Tables.RELEASES)


@dataclass(frozen=True)
class RetainedNights:
    """The business dates that are retained."""

    since: date
    """The oldest of the newest nights; every later date is retained too."""
    active: frozenset[date] = frozenset()
    """Older dates that a run worked on lately, such as those of a backfill."""

    def hold(self, ds: date) -> bool:
        """Whether the date is retained."""
        return ds >= self.since or ds in self.active

    @property
    def predicate(self) -> str:
        """SQL predicate on `ds` that selects the retained dates."""
        return " OR ".join([f"ds >= {_literal(self.since)}", *(f"ds = {_literal(ds)}" for ds in sorted(self.active))])

    @property
    def outside(self) -> str:
        """SQL predicate on `ds` that selects all other dates."""
        return " AND ".join([f"ds < {_literal(self.since)}", *(f"ds <> {_literal(ds)}" for ds in sorted(self.active))])


def find_nights(lake: Lake, keep: int, active_since: datetime) -> RetainedNights | None:
    """Return the newest `keep` nights, and what runs worked on after `active_since`; None in a lake without nights."""
    tables = [name for name in _DATED if lake.exists(name)]
    runs = {run_id: date_of_run(run_id) for run_id in list_folders(lake.spark, lake.path(RUNS))}
    dates = {row.ds for name in tables for row in lake.read(name).select("ds").distinct().collect()}
    dates |= {ds for ds in runs.values() if ds is not None}
    if not dates:
        return None
    since = sorted(dates)[-keep:][0]
    started = active_since.timestamp() * 1000
    active = {
        ds
        for run_id, ds in runs.items()
        if ds is not None
        and ds < since
        and folder_state(lake.spark, lake.path(f"{RUNS}/{run_id}")).modified_ms > started
    }
    return RetainedNights(since, frozenset(active))


def texts_in_use(lake: Lake, nights: RetainedNights) -> DataFrame:
    """Return every text (column text, repeats included) of the catalogs, queries and requests of the nights."""
    texts = make_frame(lake.spark, [], "text STRING")
    columns = (
        *((Tables.ITEMS, "text"), (Tables.INTERACTIONS, "query"), (Tables.REQUESTS, "query")),
        (Tables.QUERY_UNDERSTANDING, "searched"),
    )
    for table, column in columns:
        if lake.exists(table):
            texts = texts.union(lake.read(table).where(nights.predicate).select(F.col(column).alias("text")))
    return texts.where("text IS NOT NULL")


def encoders_in_use(lake: Lake, nights: RetainedNights, own: str) -> list[str]:
    """Return the fingerprints in the embedding table that retained nights used, or that start with `own`.

    `own` is the fingerprint of the configured encoder. What a night used stands in its release, in a publication that
    was cut short, and in its staged rows.
    """
    stored = {row.fingerprint for row in lake.read(Tables.EMBEDDINGS).select("fingerprint").distinct().collect()}
    versions = set(_versions(lake, nights))
    used = {each for each in stored if each.startswith(own) or any(encoder_version(each) in v for v in versions)}
    return sorted(used)


def _versions(lake: Lake, nights: RetainedNights) -> Iterable[str]:
    for table in (Tables.RELEASES, Tables.PUBLICATIONS):
        if lake.exists(table):
            rows = lake.read(table).where(nights.predicate).select(F.explode("model_versions").alias("part", "version"))
            yield from (row.version for row in rows.distinct().collect())
    for table in Lists.KEY:
        if lake.exists(staged_name(table)):
            staged = lake.read(staged_name(table)).where(nights.predicate).select("model_version")
            yield from (row.model_version for row in staged.distinct().collect())


def _literal(ds: date) -> str:
    return f"DATE'{ds.isoformat()}'"
