"""The rules of `recsys_batch.rules.texts.clean` and `recsys_batch.rules.pseudonyms` as column functions."""

from collections.abc import Sequence

import pyarrow as pa
from pyspark.sql import Column
from pyspark.sql import functions as F
from pyspark.sql.types import ArrayType, StringType

from recsys_batch.contracts.config.prepare import Prepare
from recsys_batch.rules.pseudonyms import pseudonymize
from recsys_batch.rules.texts.clean import IdCase, canonicalize_ids, clean_text, normalize_query

# Ids that many shops make of the user's; what comes after only compares them.
MADE_OF_USERS = ("event_id", "session_id")


def canonical_id(column: str, case: IdCase) -> Column:
    """Return the canonical form of an id column (`rules.texts.clean.canonicalize_ids`)."""

    @F.arrow_udf(StringType())  # type: ignore[attr-defined, untyped-decorator]
    def canonicalize(ids: pa.Array) -> pa.Array:
        return canonicalize_ids(ids, case)

    return canonicalize(F.col(column))  # type: ignore[no-any-return]


def is_placeholder(user_id: Column, words: Sequence[str]) -> Column:
    """Whether a canonical user id is one of the words that stand for nobody, whatever the case; null is no."""
    return F.coalesce(F.lower(user_id).isin([word.lower() for word in words]), F.lit(False))


def canonical_user(column: str, prepare: Prepare, key: bytes | None) -> Column:
    """Return a column of user ids in canonical form, as pseudonyms where `prepare.pseudonymize_with` asks for them.

    `key` is what `pseudonyms.read_key` gave; it travels inside the function, so that no plan or log shows it.
    """
    if not prepare.pseudonymize_with:
        return canonical_id(column, prepare.id_case)
    if key is None:
        raise ValueError(f"{column}: prepare.pseudonymize_with is set and no key was given; raw ids would be written")
    case, secret = prepare.id_case, key

    @F.arrow_udf(StringType())  # type: ignore[attr-defined, untyped-decorator]
    def pseudonym(ids: pa.Array) -> pa.Array:
        return pseudonymize(canonicalize_ids(ids, case), secret)

    return pseudonym(F.col(column))  # type: ignore[no-any-return]


def hashed_id(column: str, key: bytes) -> Column:
    """Return the pseudonyms of ids that are only compared with each other, as they stand; null stays null."""

    @F.arrow_udf(StringType())  # type: ignore[attr-defined, untyped-decorator]
    def pseudonym(ids: pa.Array) -> pa.Array:
        return pseudonymize(ids, key)

    return pseudonym(F.col(column))  # type: ignore[no-any-return]


@F.arrow_udf(StringType())  # type: ignore[attr-defined, untyped-decorator]
def normalized_query(queries: pa.Array) -> pa.Array:
    """Normalize a query column (`rules.texts.clean.normalize_query`)."""
    return pa.array([normalize_query(query) for query in queries.to_pylist()], pa.string())


@F.arrow_udf(StringType())  # type: ignore[attr-defined, untyped-decorator]
def cleaned(texts: pa.Array) -> pa.Array:
    """Clean a column of catalog text (`rules.texts.clean.clean_text`)."""
    return pa.array([clean_text(text) or None for text in texts.to_pylist()], pa.string())


def canonical_list(column: str, case: IdCase) -> Column:
    """Return a list-of-ids column in canonical form, null and blank ids left out."""

    @F.arrow_udf(ArrayType(StringType()))  # type: ignore[attr-defined, untyped-decorator]
    def canonicalize(lists: pa.Array) -> pa.Array:
        values = lists.to_pylist()
        flat = canonicalize_ids(pa.array([v for row in values for v in row or ()], pa.string()), case).to_pylist()
        at = 0
        made = []
        for row in values:
            size = len(row or ())
            made.append([v for v in flat[at : at + size] if v is not None])
            at += size
        return pa.array(made, pa.list_(pa.string()))

    return canonicalize(F.col(column)).alias(column)  # type: ignore[no-any-return]
