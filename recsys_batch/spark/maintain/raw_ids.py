"""Raw ids that nights before pseudonyms left: under a key they become the pseudonyms that nights give now.

A value is told by its look: what is no 32 hexadecimal digits is no pseudonym. So what was done once stays as it is, and
a job that was cut short goes on where it ended. Knows nothing of the input log, which is read anew under a key.
"""

import logging
from collections.abc import Collection
from dataclasses import dataclass
from functools import partial

from delta.tables import DeltaTable
from pyspark.sql import Column
from pyspark.sql import functions as F

from recsys_batch.contracts.columns import Inputs, Tables
from recsys_batch.contracts.config.prepare import Prepare
from recsys_batch.spark.inputs.normalize import MADE_OF_USERS, canonical_user, hashed_id
from recsys_batch.spark.lake.prepared import PREPARED
from recsys_batch.spark.lake.tables import Lake, retry_conflicts
from recsys_batch.spark.publish.release import staged_name

log = logging.getLogger("recsys_batch.night")

_PSEUDONYM = "^[0-9a-f]{32}$"
_USER = "user_id"
_NAMES = (
    *PREPARED,
    *(f"{table}_quarantine" for table in Inputs.TYPES),
    staged_name(Tables.USER_RECOMMENDATIONS),
    Tables.USER_RECOMMENDATIONS,
)


@dataclass(frozen=True)
class Renamed:
    """Rows that held a raw id, and the tables that they are in."""

    tables: int
    rows: int


def rename_users(lake: Lake, prepare: Prepare, key: bytes, dry_run: bool = False) -> Renamed:
    """Turn the raw user ids of all tables but the input log into pseudonyms, and session and event ids beside them.

    A user of `id_indices` keeps the index, unless the pseudonym has one by now: then the raw id's goes. The raw ids are
    gone from the newest versions at once, and from files when these are vacuumed. With `dry_run` nothing is changed.
    """
    held = {name: columns for name in _NAMES if (columns := _id_columns(lake, name))}
    rows = {name: number for name, columns in held.items() if (number := _count(lake, name, columns))}
    users = _count(lake, Tables.ID_INDICES, ("id",), "kind = 'user'") if lake.exists(Tables.ID_INDICES) else 0
    if not dry_run:
        for name in rows:
            retry_conflicts(partial(_rename, lake, name, prepare, key))
        if users:
            retry_conflicts(partial(_rename_indices, lake, prepare, key))
    found = rows | ({Tables.ID_INDICES: users} if users else {})
    for name, number in found.items():
        log.info("%s: raw ids in %d rows %s", name, number, "would become pseudonyms" if dry_run else "are pseudonyms")
    return Renamed(len(found), sum(found.values()))


def _id_columns(lake: Lake, name: str) -> list[str]:
    held = lake.read(name).columns if lake.exists(name) else []
    return [column for column in (_USER, *MADE_OF_USERS) if column in held] if _USER in held else []


def _is_raw(*columns: str) -> Column:
    """Whether one of the columns holds something that is no pseudonym."""
    raw = F.lit(False)
    for column in columns:
        raw = raw | F.coalesce(~F.col(column).rlike(_PSEUDONYM), F.lit(False))
    return raw


def _count(lake: Lake, name: str, columns: Collection[str], where: str = "TRUE") -> int:
    return lake.read(name).where(where).where(_is_raw(*columns)).count()


def _rename(lake: Lake, name: str, prepare: Prepare, key: bytes) -> None:
    columns = _id_columns(lake, name)
    # In a row that holds a raw id no session or event id is a pseudonym, whatever it looks like.
    made = {column: hashed_id(column, key) for column in columns if column != _USER}
    user = F.when(_is_raw(_USER), canonical_user(_USER, prepare, key)).otherwise(F.col(_USER))
    DeltaTable.forPath(lake.spark, lake.path(name)).update(_is_raw(*columns), {_USER: user, **made})


def _rename_indices(lake: Lake, prepare: Prepare, key: bytes) -> None:
    users = lake.read(Tables.ID_INDICES).where("kind = 'user'")
    raw = users.where(_is_raw("id")).select("id", canonical_user("id", prepare, key).alias("pseudonym"))
    known = users.select(F.col("id").alias("pseudonym"), F.lit(True).alias("known"))
    target = DeltaTable.forPath(lake.spark, lake.path(Tables.ID_INDICES)).alias("t")
    merged = target.merge(raw.join(known, "pseudonym", "left").alias("s"), "t.kind = 'user' AND t.id = s.id")
    merged.whenMatchedDelete("s.known").whenMatchedUpdate(set={"id": "s.pseudonym"}).execute()
