"""The suppression list: whose rows are left out of every input before anything of them is written."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

import pyarrow as pa
from delta.tables import DeltaTable
from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from pyspark.sql.types import BooleanType

from recsys_batch.contracts.columns import Tables
from recsys_batch.contracts.config.night import Config
from recsys_batch.contracts.errors import ConfigError
from recsys_batch.contracts.schemas import SUPPRESSED_USERS_DDL
from recsys_batch.rules.pseudonyms import read_key
from recsys_batch.rules.suppression import key_check, suppression_hashes
from recsys_batch.rules.texts.clean import IdCase, canonicalize_ids
from recsys_batch.spark.lake.tables import Lake, retry_conflicts
from recsys_batch.spark.session import make_frame

SETTING = "forget.key_with"


@dataclass(frozen=True)
class Suppression:
    """The users to leave out."""

    hashes: frozenset[str] = frozenset()
    key: bytes = field(default=b"", repr=False)

    def without(self, raw: DataFrame, case: IdCase) -> DataFrame:
        """Return the rows (column user_id, as the source gives it) of all other users, and of nobody."""
        if not self.hashes:
            return raw
        # They travel inside the function, so that no plan or log shows them.
        hashes, key = pa.array(sorted(self.hashes)), self.key

        @F.arrow_udf(BooleanType())  # type: ignore[attr-defined, untyped-decorator]
        def is_kept(ids: pa.Array) -> pa.Array:
            made = suppression_hashes(canonicalize_ids(ids, case), key)
            return pa.compute.invert(pa.compute.is_in(made, value_set=hashes))

        return raw.where(F.col("user_id").isNull() | is_kept(F.col("user_id")))


def read_suppression(lake: Lake, config: Config, environ: Mapping[str, str]) -> Suppression:
    """Return the suppression list; an empty one where nobody was ever forgotten.

    Raises ConfigError where the list has users and the config has no key, or another one: they would come back.
    """
    if not lake.exists(Tables.SUPPRESSED_USERS):
        return Suppression()
    rows = lake.read(Tables.SUPPRESSED_USERS).select("user_hash", "key_check").collect()
    if not rows:
        return Suppression()
    key = suppression_key(config, environ)
    if strange := {row.key_check for row in rows} - {key_check(key)}:
        raise ConfigError(
            f"{SETTING}: {lake.path(Tables.SUPPRESSED_USERS)} was made with another key (check {sorted(strange)[0]}, "
            f"now {key_check(key)}); set the one from before, or the users in it would come back"
        )
    return Suppression(frozenset(row.user_hash for row in rows), key)


def suppression_key(config: Config, environ: Mapping[str, str]) -> bytes:
    """Return the key of the list's hashes. Raises ConfigError where the config names none, or it is not set."""
    variable = config.forget.key_with or config.prepare.pseudonymize_with
    if not variable:
        raise ConfigError(
            f"{SETTING}: not set, and forgotten users are told by hashes under a secret key; set it to the name of an "
            "environment variable that holds one, the same every night"
        )
    return read_key(variable, environ, SETTING if config.forget.key_with else "prepare.pseudonymize_with")


def suppress(lake: Lake, hashes: Collection[str], key: bytes) -> None:
    """Enter users in the list, each once."""
    now = datetime.now(UTC)
    rows = make_frame(lake.spark, [(each, key_check(key), now) for each in sorted(hashes)], SUPPRESSED_USERS_DDL)
    if lake.create(Tables.SUPPRESSED_USERS, rows):
        return

    def enter() -> None:
        target = DeltaTable.forPath(lake.spark, lake.path(Tables.SUPPRESSED_USERS)).alias("t")
        target.merge(rows.alias("s"), "t.user_hash = s.user_hash").whenNotMatchedInsertAll().execute()

    retry_conflicts(enter)
