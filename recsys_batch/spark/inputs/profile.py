"""Measures the data profile of an input table: four passes over its classified rows, a few hundred numbers collected.

What leaves this module is masked (`contracts.data_profile`); how it looks is `report.profile`.
"""

import math
from collections.abc import Callable
from datetime import date, timedelta
from typing import Any

from pyspark.sql import Column, DataFrame, Row, Window
from pyspark.sql import functions as F

from recsys_batch.contracts.columns import EVENT_TYPES, Inputs
from recsys_batch.contracts.config.prepare import Prepare
from recsys_batch.contracts.data_profile import (
    QUANTILES,
    Bin,
    ColumnKind,
    ColumnProfile,
    Days,
    LongTail,
    QuarantineSample,
    TableProfile,
    mask_id,
    mask_text,
    share_up_to,
)
from recsys_batch.spark.inputs.expectations import day_of_event
from recsys_batch.spark.inputs.quarantine import FILTERED, NOT_QUARANTINED, STATUS, USED

# What a string column holds; one not named here is an id, whose values are never shown.
_STRINGS: dict[str, ColumnKind] = {
    "event_type": "category",
    "domain": "category",
    "category": "category",
    "brand": "category",
    "currency": "category",
    "query": "text",
    "title": "text",
    "description": "text",
    "text": "text",
}
_KINDS: dict[str, ColumnKind] = {"timestamp": "time", "boolean": "flag", "double": "number", "int": "number"}
# Counted value by value: categories, and the one number that has few.
_COUNTED = (*(name for name, kind in _STRINGS.items() if kind == "category"), "rating")
_NUM_TOP = 10
# Steps of the chart of days; more than these a screen does not show.
_MAX_STEPS = 92
_PRICE_BINS_A_DECADE = 5
# Of a sampled value, enough to be masked and cut.
_SAMPLED_CHARS = 200
# Telling an item apart takes a character more; it is no person.
_ITEM_ID_SHOWN = 2


def profile_table(classified: DataFrame, table: str, ds: date, prepare: Prepare, num_samples: int = 5) -> TableProfile:
    """Profile the classified rows of an input table; `num_samples` masked rows a quarantine reason."""
    types = {c: t for c, t in Inputs.TYPES[table].items() if c in classified.columns}
    is_events = table == "events"
    day = day_of_event(ds, prepare) if is_events else F.lit(None).cast("date")
    kept = F.col(STATUS) != FILTERED
    summary = _summarize(classified.where(kept), types, day)
    first, days_a_step = _steps(summary)
    counts = _count_values(classified, [c for c in types if c in _COUNTED], kept, day, first, days_a_step)
    statuses = dict(sorted(counts.pop(STATUS, {}).items(), key=lambda pair: (-pair[1], pair[0])))
    return TableProfile(
        table=table,
        ds=ds,
        statuses=statuses,
        columns=tuple(_column(c, t, summary, counts.get(c, {})) for c, t in types.items()),
        quarantine=_sample_quarantine(classified, types, statuses, num_samples),
        days=_days(counts.get("_day", {}), first, days_a_step, summary["_last_day"]) if first else None,
        long_tail=_long_tail(classified) if is_events else None,
        prices=_price_bins(counts.get("_price", {})),
    )


def _kind(column: str, type_name: str) -> ColumnKind:
    if type_name.startswith(("map", "array")):
        return "map"
    return _STRINGS.get(column, "id") if type_name == "string" else _KINDS[type_name]


def _summarize(kept: DataFrame, types: dict[str, str], day: Column) -> dict[str, Any]:
    """Return one row of aggregates over all columns, as `<column>.<what>`."""
    made = [F.count("*").alias("_rows"), F.min(day).alias("_first_day"), F.max(day).alias("_last_day")]
    for name, type_name in types.items():
        column, kind = F.col(name), _kind(name, type_name)
        measures: dict[str, Column] = {"nulls": F.count_if(column.isNull())}
        if kind in ("id", "category"):
            measures["distinct"] = F.approx_count_distinct(column)
        if kind == "number":
            measures |= {"low": F.min(column), "high": F.max(column), "mean": F.avg(column)}
        if kind == "time":
            measures |= {n: F.date_format(f(column), "yyyy-MM-dd HH:mm") for n, f in (("low", F.min), ("high", F.max))}
        if kind in ("map", "flag"):
            measures["mean"] = F.avg(
                F.when(column.isNotNull(), F.size(column) if kind == "map" else column.cast("int"))
            )
        if kind in ("number", "text"):
            of = column if kind == "number" else F.length(column)
            measures["quantiles"] = F.percentile_approx(of.cast("double"), list(QUANTILES), 2000)
        made += [measure.alias(f"{name}.{what}") for what, measure in measures.items()]
    row = kept.agg(*made).first()
    assert row is not None  # a global aggregate has one row  # noqa: S101
    return row.asDict()


def _column(name: str, type_name: str, summary: dict[str, Any], counted: dict[str, int]) -> ColumnProfile:
    def number(what: str) -> str:
        value = summary.get(f"{name}.{what}")
        return "" if value is None else value if isinstance(value, str) else f"{value:,.6g}"

    return ColumnProfile(
        name=name,
        kind=_kind(name, type_name),
        null_share=summary[f"{name}.nulls"] / max(summary["_rows"], 1),
        distinct=summary.get(f"{name}.distinct"),
        low=number("low"),
        high=number("high"),
        mean=summary.get(f"{name}.mean"),
        quantiles=tuple(summary.get(f"{name}.quantiles") or ()),
        top=tuple(sorted(counted.items(), key=lambda pair: (-pair[1], pair[0]))),
    )


def _steps(summary: dict[str, Any]) -> tuple[date | None, int]:
    first, last = summary["_first_day"], summary["_last_day"]
    if first is None:
        return None, 1
    return first, math.ceil(((last - first).days + 1) / _MAX_STEPS)


def _count_values(
    classified: DataFrame, columns: list[str], kept: Column, day: Column, first: date | None, days_a_step: int
) -> dict[str, dict[str, int]]:
    """Count rows by status, by the values of `columns` (the most frequent ones), by `_day` and type, by `_price` bin.

    One pass: every row names its values, and the names are counted.
    """
    facets = [
        (STATUS, F.col(STATUS)),
        *((c, F.when(kept, F.left(F.col(c).cast("string"), F.lit(60)))) for c in columns),
    ]
    if first is not None:
        step = F.floor(F.date_diff(day, F.lit(first)) / F.lit(days_a_step)).cast("string")
        event_type = F.when(F.col("event_type").isin(*EVENT_TYPES), F.col("event_type")).otherwise("other")
        facets.append(("_day", F.when(kept, F.concat_ws(" ", step, F.coalesce(event_type, F.lit("other"))))))
        # concat_ws skips nulls: a row without a day would leave its type alone.
        facets[-1] = ("_day", F.when(day.isNotNull(), facets[-1][1]))
    if "price" in classified.columns:
        decade = F.floor(F.log10("price") * _PRICE_BINS_A_DECADE).cast("string")
        facets.append(("_price", F.when(kept & (F.col("price") > 0), decade)))
    named = F.array(*(F.struct(F.lit(name).alias("facet"), value.alias("value")) for name, value in facets))
    counted = (
        classified.select(F.explode(named).alias("named"))
        .select("named.*")
        .where("value IS NOT NULL")
        .groupBy("facet", "value")
        .agg(F.count("*").alias("rows"))
    )
    place = F.row_number().over(Window.partitionBy("facet").orderBy(F.desc("rows"), "value"))
    most = F.when(F.col("facet").isin(*columns), _NUM_TOP).otherwise(_MAX_STEPS * (len(EVENT_TYPES) + 1))
    counts: dict[str, dict[str, int]] = {}
    for row in counted.withColumn("place", place).where(F.col("place") <= most).collect():
        counts.setdefault(row.facet, {})[row.value] = row.rows
    return counts


def _days(counted: dict[str, int], first: date, days_a_step: int, last: date) -> Days:
    num_steps = (last - first).days // days_a_step + 1
    by_type: dict[str, list[int]] = {}
    for name, rows in counted.items():
        step, event_type = name.split(" ")
        by_type.setdefault(event_type, [0] * num_steps)[int(step)] = rows
    order = sorted(by_type, key=lambda event_type: (-sum(by_type[event_type]), event_type))
    starts = tuple(first + timedelta(days=days_a_step * step) for step in range(num_steps))
    return Days(days_a_step, starts, last, {event_type: tuple(by_type[event_type]) for event_type in order})


def _price_bins(counted: dict[str, int]) -> tuple[Bin, ...]:
    if not counted:
        return ()
    rows = {int(place): n for place, n in counted.items()}
    return tuple(
        Bin(10 ** (place / _PRICE_BINS_A_DECADE), 10 ** ((place + 1) / _PRICE_BINS_A_DECADE), rows.get(place, 0))
        for place in range(min(rows), max(rows) + 1)
    )


def _long_tail(classified: DataFrame) -> LongTail | None:
    """Count used events by item and by user, then items and users by number of events, in bins."""
    used = classified.where(F.col(STATUS) == USED)
    ids = F.array(*(F.struct(F.lit(c).alias("of"), F.col(c).alias("id")) for c in ("item_id", "user_id")))
    per_id = (
        used.select(F.explode(ids).alias("id"))
        .select("id.*")
        .where("id IS NOT NULL")
        .groupBy("of", "id")
        .agg(F.count("*").alias("n"))
    )
    # Whole powers of two for the bars of users; an eighth of that for the curve of items, exact at its points.
    power = F.length(F.bin("n")) - 1
    fine = F.floor(F.log2(F.col("n").cast("double")) * 8).cast("int")
    place = F.when(F.col("of") == "user_id", power).otherwise(fine)
    binned = per_id.groupBy("of", place.alias("place")).agg(F.count("*").alias("ids"), F.sum("n").alias("events"))
    rows = sorted(binned.collect(), key=lambda row: row.place)
    items = [row for row in reversed(rows) if row.of == "item_id"]
    users = {row.place: row.ids for row in rows if row.of == "user_id"}
    if not items or not users:
        return None
    return LongTail(
        items=sum(row.ids for row in items),
        curve=share_up_to([(row.ids, row.events) for row in items]),
        users=sum(users.values()),
        users_by_events=tuple(Bin(2.0**p, 2.0 ** (p + 1), users.get(p, 0)) for p in range(max(users) + 1)),
    )


def _sample_quarantine(
    classified: DataFrame, types: dict[str, str], statuses: dict[str, int], num_samples: int
) -> tuple[QuarantineSample, ...]:
    """Choose the rows of each reason that come last in the order of a hash: any, but always the same."""
    refused = classified.where(~F.col(STATUS).isin(*NOT_QUARANTINED))
    scalars = [c for c, t in types.items() if _kind(c, t) != "map"]
    row = F.struct(*(F.left(F.col(c).cast("string"), F.lit(_SAMPLED_CHARS)).alias(c) for c in scalars))
    sampled: dict[str, list[Row]] = {}
    if num_samples > 0:
        chosen = refused.select(STATUS, row.alias("row"), F.xxhash64(*scalars).alias("place"))
        best = chosen.groupBy(STATUS).agg(F.expr(f"MAX_BY(row, place, {num_samples})").alias("rows"))
        sampled = {found[STATUS]: found.rows for found in best.collect()}
    return tuple(
        QuarantineSample(reason, rows, tuple(_masked(sample, types) for sample in sampled.get(reason, ())))
        for reason, rows in statuses.items()
        if reason not in NOT_QUARANTINED
    )


def _masked(sample: Row, types: dict[str, str]) -> dict[str, str]:
    given = {column: str(value) for column, value in sample.asDict().items() if value is not None}
    return {column: _mask(column, types[column])(value) for column, value in given.items()}


def _mask(column: str, type_name: str) -> Callable[[str], str]:
    if column == "item_id":
        return lambda value: mask_id(value, _ITEM_ID_SHOWN)
    kind = _kind(column, type_name)
    return mask_id if kind == "id" else mask_text if kind in ("text", "category") else str
