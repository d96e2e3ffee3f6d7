"""Rollback for operators: an earlier release of a date stands again, and the summary says which."""

import logging
from datetime import date

from recsys_batch.contracts.errors import StagedRowsMissingError
from recsys_batch.report.summary import RunSummary
from recsys_batch.spark.lake.tables import Lake
from recsys_batch.spark.publish.rollback import roll_back
from recsys_batch.spark.session import night_settings, with_settings

# As of a night that is neither small nor in need of adaptive execution.
_PLAIN_BYTES = 2**20

log = logging.getLogger("recsys_batch.night")


def rollback(lake: Lake, ds: date, release_id: str, summary: RunSummary) -> None:
    """Roll the date back to `release_id`, or to the release before where empty, filling `summary`.

    Raises the errors of `spark.publish.rollback.roll_back`.
    """
    try:
        # Rows go from one table to another as they are: neither bounds of columns nor planning anew would help.
        with with_settings(lake.spark, night_settings(_PLAIN_BYTES)):
            done = roll_back(lake, ds, release_id)
    except StagedRowsMissingError as error:
        raise StagedRowsMissingError(
            f"{error}. Maintenance keeps the staged slices of releases of retained nights (maintain.keep_nights) only"
        ) from None
    row = done.release
    summary.run_id, summary.release_id, summary.state = row.run_id, row.release_id, done.state
    summary.tables, summary.lists = dict(row.tables), sorted(row.tables)
    summary.message = f"ds {ds}: the lists of run {row.run_id} stand, release {row.release_id}"
    if done.state != "already stands":
        summary.message += f"; to take that back: --release {row.replaces}"
    log.info("%s", summary.message)
