"""The boundary for input values: each crosses it once, and what comes out is safe for everything behind it.

Valid UTF-8, finite numbers, times of the years 1 to 9999, whole numbers as ids without an exponent, maps without
repeated keys, texts of bounded length. What cannot be made so is null; where it was given, `notes` says so.
"""

from collections.abc import Callable

from pyspark.sql import Column
from pyspark.sql import functions as F

from recsys_batch.spark.lake.tables import sql_text

MAX_TEXT = 100_000
MAX_ID = 1_000
IDS = ("user_id", "item_id", "event_id", "session_id", "request_id")
# Above these a floating-point number does not tell all whole numbers apart.
_EXACT = {"double": 2**53, "float": 2**24}
_FIRST_TIME, _LAST_TIME = "TIMESTAMP'0001-01-01 00:00:00'", "TIMESTAMP'9999-12-31 23:59:59.999999'"

# As Google Merchant, Shopify, WooCommerce, Magento and schema.org write them; blanks, dashes and underscores apart.
AVAILABLE_WORDS = (
    *("true", "t", "yes", "y", "1", "on", "instock", "available", "instoreonly", "onlineonly", "limitedavailability"),
    *(
        "preorder",
        "presale",
        "backorder",
        "onbackorder",
        "madetoorder",
        "lowstock",
        "ja",
        "oui",
        "si",
        "sí",
        "sim",
        "有货",
    ),
)
UNAVAILABLE_WORDS = (
    *("false", "f", "no", "n", "0", "off", "outofstock", "unavailable", "notavailable", "soldout", "discontinued"),
    *("reserved", "nein", "non", "não", "nao", "缺货", "无货", "售罄"),
)


_EPOCH = {
    # What is no number would be 1970.
    "epoch_seconds": (
        "TIMESTAMP_MICROS(CAST(ROUND(NULLIF(TRY_CAST(({0}) AS DOUBLE), DOUBLE('NaN')) * 1000000) AS BIGINT))"
    ),
    # As a floating-point number, which saturates: of milliseconds too many for any time Spark ends the query.
    "epoch_milliseconds": "TIMESTAMP_MICROS(CAST(TRY_CAST(({0}) AS BIGINT) * 1000D AS BIGINT))",
    "epoch_microseconds": "TIMESTAMP_MICROS(TRY_CAST(({0}) AS BIGINT))",
    "epoch_nanoseconds": "TIMESTAMP_MICROS(TRY_CAST(({0}) AS BIGINT) DIV 1000)",
}
_NUMBER_CHARS = 60
# One number with signs of groups, and words or signs of a currency before or after it; and the signs of groups.
_NUMBERS = {
    "decimal_point": (
        r"^[^\d.,+-]*([+-]?\s?[\d\s\u00a0\u202f'’,]*\d(?:\.\d+)?|[+-]?\.\d+)[^\d]*$",
        r"[\s\u00a0\u202f'’,]",
    ),
    "decimal_comma": (
        r"^[^\d.,+-]*([+-]?\s?[\d\s\u00a0\u202f'’.]*\d(?:,\d+)?|[+-]?,\d+)[^\d]*$",
        r"[\s\u00a0\u202f'’.]",
    ),
}


def typed(expression: str | None, column: str, kind: str, raw: str, form: str = "") -> Column:
    """Return the SQL `expression`, of the type `raw`, as the input column of the type `kind` (`Inputs.TYPES`).

    Bytes are text, as old writers of Parquet leave it. `form` is how the source writes the values (`Source.read_as`).
    """
    if expression is None:
        return F.lit(None).cast(kind)
    if raw == "binary":
        expression, raw = f"CAST(({expression}) AS STRING)", "string"
    if form:
        expression, raw = _as_written(expression, form), "string"
    if column in IDS:
        return _id(expression, raw)
    if kind == "timestamp":
        return _time(expression, raw)
    make = _BOUNDARY.get(kind)
    return make(expression) if make is not None else F.expr(f"TRY_CAST(({expression}) AS {kind})")


def _as_written(expression: str, form: str) -> str:
    if form in _EPOCH:
        return _EPOCH[form].format(expression)
    text = f"CAST(({expression}) AS STRING)"
    if form not in _NUMBERS:
        return f"TRY_TO_TIMESTAMP(TRIM({text}), {sql_text(form)})"
    pattern, groups = (sql_text(part) for part in _NUMBERS[form])
    # A number and its currency are short; what is longer is none.
    number = f"REGEXP_REPLACE(REGEXP_EXTRACT(LEFT({text}, {_NUMBER_CHARS}), {pattern}, 1), {groups}, '')"
    return number if form == "decimal_point" else f"REPLACE({number}, ',', '.')"


def _text(expression: str) -> Column:
    return F.make_valid_utf8(F.expr(f"TRY_CAST(({expression}) AS STRING)"))


def _long_text(expression: str) -> Column:
    return F.left(_text(expression), F.lit(MAX_TEXT))


def _number(expression: str) -> Column:
    number = F.expr(f"TRY_CAST(({expression}) AS DOUBLE)")
    return F.when(F.abs(number) < float("inf"), number)


def _id_list(expression: str) -> Column:
    ids = F.expr(f"CAST(({expression}) AS ARRAY<STRING>)")
    return F.transform(ids, lambda value: _bounded(F.make_valid_utf8(value), MAX_ID))


def _id(expression: str, raw: str) -> Column:
    """Write whole floating-point numbers as the integers they are; others, as they have lost digits, are no ids."""
    value = F.expr(f"({expression})")
    if raw in _EXACT:
        exact = (value == F.floor(value)) & (F.abs(value) < float(_EXACT[raw]))
        return F.when(exact, value.cast("bigint").cast("string"))
    if raw.startswith("decimal"):
        return F.when(value == F.floor(value), F.floor(value).cast("string"))
    return _bounded(_text(expression), MAX_ID)


def _bounded(value: Column, length: int) -> Column:
    return F.when(F.length(value) <= length, value)


def _time(expression: str, raw: str) -> Column:
    time = F.expr(f"TRY_CAST(({expression}) AS TIMESTAMP)")
    # Far out, and so a wrong clock, whichever year it says; no calendar beyond this can be read back.
    within = F.greatest(F.least(time, F.expr(_LAST_TIME)), F.expr(_FIRST_TIME))
    if raw != "string":
        return F.when(time.isNotNull(), within)
    # Spark takes a time of day for one of today, whenever that is.
    alone = F.expr(f"({expression})").rlike(r"^\s*T?\d{1,2}:\d")
    return F.when(time.isNotNull() & ~alone, within)


def _flag(expression: str) -> Column:
    """Read the words of product feeds too; a number is true unless it is 0."""
    text = F.lower(F.regexp_replace(F.expr(f"CAST(({expression}) AS STRING)"), r"^https?://schema\.org/|[\s_-]", ""))
    return (
        F.when(text.isin(*AVAILABLE_WORDS), F.lit(True))
        .when(text.isin(*UNAVAILABLE_WORDS), F.lit(False))
        .otherwise(F.expr(f"TRY_CAST(({expression}) AS BOOLEAN)"))
    )


def _map(expression: str) -> Column:
    """Of a key that is given twice the last value counts; entries without a key are left out."""
    entries = F.map_entries(F.expr(f"CAST(({expression}) AS MAP<STRING,STRING>)"))
    safe = F.transform(
        F.filter(entries, lambda entry: entry["key"].isNotNull()),
        lambda entry: F.struct(
            F.left(F.make_valid_utf8(entry["key"]), F.lit(MAX_ID)).alias("key"),
            F.left(F.make_valid_utf8(entry["value"]), F.lit(MAX_TEXT)).alias("value"),
        ),
    )
    return F.map_from_entries(safe)


_BOUNDARY: dict[str, Callable[[str], Column]] = {
    "string": _long_text,
    "double": _number,
    "boolean": _flag,
    "map<string,string>": _map,
    "array<string>": _id_list,
}
