"""Sources as careless or hostile shops write them: random files whose records are counted as they are written."""

import csv
import gzip
import io
import json
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

DAY = datetime(2024, 5, 2, tzinfo=UTC)
_FORMATS = ("csv", "json", "parquet")
_INVISIBLE = ("\u200b", "\u200d", "\ufeff", "\u00ad", "\u2060", "\u202e", "\ufe0f", "\x00", "\x7f", "\u2028", "\x85")
_NAMES = ("events[1]", "a{b}", "with blank", "per%20cent", "a+b", "ümläut", "2024:05", "#1", "a,b", "star*", "q?", "-")
_WORDS = (
    "red kettle",
    "blue lamp",
    "蓝牙耳机",
    "Adapter <USB-C>",
    "<b>Bold</b>",
    "&amp;amp; co",
    "e.g. e.g.",
    "!!!",
    "ـ",
)

Value = Any


@dataclass
class Spoiled:
    """A source as a config declares it, and how many records were written for it."""

    declared: dict[str, Any]
    records: int
    what: list[str] = field(default_factory=list)
    """What was done to it, for whoever looks into a failure."""


def _id(draw: random.Random, stem: int, count: int) -> Value:
    number = stem + draw.randrange(count)
    nasty: tuple[Callable[[], Value], ...] = (
        lambda: None,
        lambda: draw.choice(("", " ", "nan", "NULL", "(not set)", "\\N", "0", "undefined")),
        lambda: f"{number}.0",
        lambda: f"{number:.7E}",
        lambda: draw.choice(_INVISIBLE).join(str(number)),
        lambda: f" {number}\t",
        lambda: "x" * draw.choice((1, 300, 40_000)),
        lambda: "e\u0301" * 3 + "\u0301" * 60,
        lambda: "\ud83d\ude00".encode("utf-16", "surrogatepass").decode("utf-16") + str(number),
    )
    return str(number) if draw.random() < 0.8 else draw.choice(nasty)()


def _number(draw: random.Random) -> Value:
    plain = round(draw.uniform(0.5, 90), 2)
    nasty = (
        None,
        "",
        "NaN",
        "Infinity",
        "-Infinity",
        "1e400",
        "-0.0",
        "34,50",
        "5.00 EUR",
        "1.234,56",
        "x",
        "-7",
        "1e-320",
    )
    return plain if draw.random() < 0.7 else draw.choice(nasty)


def _time(draw: random.Random) -> Value:
    at = DAY + timedelta(hours=draw.uniform(-30, 26))
    forms: tuple[Callable[[], Value], ...] = (
        at.isoformat,
        lambda: f"{at:%Y-%m-%d %H:%M:%S}",
        lambda: int(at.timestamp()),
        lambda: int(at.timestamp() * 1000),
        lambda: int(at.timestamp() * 1_000_000),
        lambda: draw.choice(
            (None, "", "10:15", "31.12.2023 10:00", "0000-00-00 00:00:00", "9999-12-31", "+58465-01-01")
        ),
        lambda: draw.choice(
            ("1969-12-31", "2024-02-30", "2024-05-02T25:00:00", "-1", "1e18", 2**62, "now", "2024-05-02 10:00 PST")
        ),
    )
    return f"{at:%Y-%m-%d %H:%M:%S}" if draw.random() < 0.75 else draw.choice(forms)()


def _text(draw: random.Random) -> Value:
    nasty: tuple[Callable[[], Value], ...] = (
        lambda: None,
        lambda: draw.choice(("", "\u3164", "\u0301", "<p></p>", "&#x110000;", "&#0;", "\x00\x01")),
        lambda: "<!--" * draw.choice((1, 3000)),
        lambda: "!" * draw.choice((1, 20_000)) + "x",
        lambda: draw.choice(_INVISIBLE).join(draw.choice(_WORDS)),
        lambda: "a" * 70_000,
        lambda: "'; DROP TABLE items; --",
        lambda: '=HYPERLINK("http://x")',
    )
    return f"{draw.choice(_WORDS)} {draw.randrange(99)}" if draw.random() < 0.8 else draw.choice(nasty)()


def _kind(draw: random.Random) -> Value:
    known = ("view", "click", "cart", "purchase", "return", "rating", "favorite", "unfavorite", "search", "impression")
    return (
        draw.choice(known)
        if draw.random() < 0.9
        else draw.choice((None, "", "page_view", "VIEW ", "Purchase\u200b", "1"))
    )


def _flag(draw: random.Random) -> Value:
    return draw.choice((True, False, "true", "0", "ja", "in_stock", "out of stock", None, "", "maybe", "TRUE ", 1))


def _attributes(draw: random.Random) -> Value:
    return draw.choice(
        (None, {}, {"Color": "red"}, {"Color": None}, {"": "x"}, {"a" * 300: "b"}, {"Color": "x" * 70_000})
    )


_COLUMNS: dict[str, dict[str, Callable[[random.Random], Value]]] = {
    "events": {
        "user_id": lambda draw: _id(draw, 500, 12),
        "item_id": lambda draw: _id(draw, 100, 30),
        "event_type": _kind,
        "event_time": _time,
        "event_id": lambda draw: _id(draw, 0, 60),
        "query": _text,
        "quantity": _number,
        "rating": _number,
        "session_id": lambda draw: _id(draw, 9000, 5),
        "position": _number,
        "received_at": _time,
    },
    "items": {
        "item_id": lambda draw: _id(draw, 100, 30),
        "title": _text,
        "description": _text,
        "category": _text,
        "brand": _text,
        "price": _number,
        "available": _flag,
        "attributes": _attributes,
        "updated_at": _time,
    },
    "reviews": {
        "item_id": lambda draw: _id(draw, 100, 30),
        "user_id": lambda draw: _id(draw, 500, 12),
        "rating": _number,
        "text": _text,
        "review_time": _time,
    },
}
_REQUIRED = {"events": 4, "items": 2, "reviews": 4}
_READ_AS = {
    "event_time": ("epoch_seconds", "epoch_milliseconds", "dd.MM.yyyy HH:mm"),
    "price": ("decimal_comma", "decimal_point"),
    "quantity": ("decimal_comma",),
}


def spoil(table: str, folder: Path, draw: random.Random) -> Spoiled:
    """Write a source of `table` below `folder` and return how a config declares it."""
    folder.mkdir(parents=True)
    makers = _COLUMNS[table]
    names = list(makers)
    optional = names[_REQUIRED[table] :]
    columns = names[: _REQUIRED[table]] + draw.sample(optional, draw.randrange(len(optional) + 1))
    form = draw.choice(_FORMATS)
    if form != "json":
        columns = [column for column in columns if column != "attributes"]
    spoiled = Spoiled(
        {"format": form, "path": str(folder), "select": {column: column for column in columns}}, 0, [form]
    )
    if form == "csv":
        spoiled.declared["options"] = {"header": "true", "escape": '"', "sep": draw.choice((",", ";", "\t"))}
    if form == "json":
        types = {"attributes": "MAP<STRING,STRING>"}
        spoiled.declared["schema_ddl"] = ", ".join(f"`{column}` {types.get(column, 'STRING')}" for column in columns)
    for column in columns:
        if column in _READ_AS and draw.random() < 0.15:
            spoiled.declared.setdefault("read_as", {})[column] = draw.choice(_READ_AS[column])
    if draw.random() < 0.15:
        spoiled.declared["timezone"] = draw.choice(("Europe/Berlin", "America/Los_Angeles", "Asia/Kolkata"))
    for number in range(draw.choice((1, 1, 2, 4))):
        own = draw.sample(columns, len(columns))
        if number and draw.random() < 0.2:
            own = [column for column in own if column in names[: _REQUIRED[table]] or draw.random() < 0.5]
        rows = [{column: makers[column](draw) for column in own} for _ in range(draw.choice((0, 1, 20, 60)))]
        if not number:
            rows += [_sound(table, column_set=own, draw=draw) for _ in range(12)]
        name = f"{draw.choice(_NAMES) if draw.random() < 0.3 else 'part'}-{number}"
        spoiled.records += _WRITERS[form](folder, name, own, rows, spoiled, draw)
    return spoiled


def _sound(table: str, column_set: Sequence[str], draw: random.Random) -> dict[str, Value]:
    """Make a row in which nothing is wrong, so that most nights have something to work on."""
    at = f"{DAY + timedelta(hours=draw.uniform(1, 20)):%Y-%m-%d %H:%M:%S}"
    sound = {
        **{
            "user_id": str(500 + draw.randrange(12)),
            "item_id": str(100 + draw.randrange(30)),
            "event_type": "purchase",
        },
        **{"event_time": at, "review_time": at, "title": f"{draw.choice(_WORDS)} {draw.randrange(99)}", "text": "good"},
    }
    return {column: sound.get(column) for column in column_set}


def _write_csv(
    folder: Path, name: str, columns: Sequence[str], rows: list[dict[str, Value]], spoiled: Spoiled, draw: random.Random
) -> int:
    text = io.StringIO()
    sep = spoiled.declared["options"]["sep"]
    ends = draw.choice(("\n", "\r\n"))
    writer = csv.writer(text, delimiter=sep, lineterminator=ends)
    writer.writerow(columns)
    for row in rows:
        # A line of blanks alone is no record for Spark.
        cells = [_cell(row[column]) for column in columns]
        if draw.random() < 0.05:
            cells = cells[: draw.randrange(2, len(cells) + 1)] + [""] * draw.choice((0, 3))
        writer.writerow(cells if any(cells) else ["x", *cells[1:]])
    content = text.getvalue().encode("utf-8", "surrogatepass")
    if draw.random() < 0.1:
        content, _ = b"\xef\xbb\xbf" + content, spoiled.what.append("byte order mark")
    if draw.random() < 0.1:
        content, _ = content.replace("蓝".encode(), b"\xc0\xff"), spoiled.what.append("invalid UTF-8")
    packed = draw.random() < 0.2
    path = folder / f"{name}.csv{'.gz' if packed else ''}"
    content = gzip.compress(content) if packed else content
    if packed and draw.random() < 0.1:
        content, _ = content[: len(content) // 2], spoiled.what.append("cut in half")
    if draw.random() < 0.05:
        content, rows, _ = b"", [], spoiled.what.append("no bytes")
    path.write_bytes(content)
    return len(rows)


def _cell(value: Value) -> str:
    # One line a record: the config does not say that fields may hold line ends.
    text = "" if value is None else str(value)
    return text.replace("\n", " ").replace("\r", " ").replace("\x00", "\x01") if isinstance(text, str) else text


def _write_json(
    folder: Path, name: str, columns: Sequence[str], rows: list[dict[str, Value]], spoiled: Spoiled, draw: random.Random
) -> int:
    lines = []
    for row in rows:
        line = json.dumps(row, ensure_ascii=draw.random() < 0.5)
        if draw.random() < 0.03:
            line, _ = line[: len(line) // 2], spoiled.what.append("half a record")
        if draw.random() < 0.03:
            line, _ = line[:-1] + ', "user_id": "twice"}', spoiled.what.append("a key twice")
        if draw.random() < 0.03:
            line, _ = draw.choice(("[]", "7", '"text"', "{}", "null")), spoiled.what.append("another shape")
        lines.append(line)
    text = "\n".join(lines) + ("\n" if draw.random() < 0.5 else "")
    (folder / f"{name}.json").write_bytes(text.encode("utf-8", "surrogatepass"))
    # An array is its elements, so an empty one is no record.
    return sum(line != "[]" for line in lines)


def _write_parquet(
    folder: Path, name: str, columns: Sequence[str], rows: list[dict[str, Value]], spoiled: Spoiled, draw: random.Random
) -> int:
    arrays = [_array([row[column] for row in rows], spoiled, draw) for column in columns]
    pq.write_table(pa.table(arrays, names=list(columns)), folder / f"{name}.parquet")
    return len(rows)


def _array(values: list[Value], spoiled: Spoiled, draw: random.Random) -> pa.Array:
    texts = [None if value is None else str(value).encode("utf-8", "surrogatepass") for value in values]
    safe = [None if text is None else text.decode("utf-8", "replace") for text in texts]
    numbers = [_float(text) for text in safe]
    whole = [None if n is None or not abs(n) < 2**62 else int(n) for n in numbers]

    def within(number: int | None, limit: int, made: Callable[[int], Value] = int) -> Value:
        return None if number is None else made(number % limit)

    kinds: dict[str, Callable[[], pa.Array]] = {
        "string": lambda: pa.array(safe, pa.string()),
        "large_string": lambda: pa.array(safe, pa.large_string()),
        "dictionary": lambda: pa.array(safe, pa.string()).dictionary_encode(),
        "binary": lambda: pa.array([t and t + draw.choice((b"", b"\xff", b"\xed\xa0")) for t in texts], pa.binary()),
        "double": lambda: pa.array(numbers, pa.float64()),
        "float": lambda: pa.array(numbers, pa.float32()),
        "int64": lambda: pa.array(whole, pa.int64()),
        "int32": lambda: pa.array([None if n is None or abs(n) >= 2**31 else n for n in whole], pa.int32()),
        "decimal": lambda: pa.array(
            [None if n is None else Decimal(n % 10**9) / 100 for n in whole], pa.decimal128(20, 2)
        ),
        "bool": lambda: pa.array([within(n, 2, bool) for n in whole], pa.bool_()),
        "timestamp": lambda: pa.array([within(n, 2**40) for n in whole], pa.timestamp(draw.choice(("ms", "us", "ns")))),
        "zoned": lambda: pa.array([within(n, 2**50) for n in whole], pa.timestamp("us", tz="UTC")),
        "date": lambda: pa.array([within(n, 30_000) for n in whole], pa.date32()),
        "list": lambda: pa.array([[text] for text in safe], pa.list_(pa.string())),
    }
    kind = "string" if draw.random() < 0.75 else draw.choice(list(kinds))
    spoiled.what.append(kind)
    return kinds[kind]()


def _float(text: str | None) -> float | None:
    try:
        return None if text is None else float(text)
    except ValueError:
        return None


_WRITERS = {"csv": _write_csv, "json": _write_json, "parquet": _write_parquet}
