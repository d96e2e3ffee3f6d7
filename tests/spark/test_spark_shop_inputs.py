"""Awkward inputs of the kind that shops send, one folder each: what the night makes of them, or why it refuses them."""

import os
import shutil
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest

from recsys_batch.contracts.columns import Tables
from recsys_batch.contracts.config.load import load_config
from recsys_batch.contracts.errors import RecsysBatchError
from recsys_batch.contracts.run_facts import NightOptions
from recsys_batch.pipeline import run_night
from recsys_batch.report.summary import RunSummary
from recsys_batch.spark.lake.tables import Lake
from tests.conftest import DATA

pytestmark = pytest.mark.long

CASES = Path(os.environ.get("CASES", DATA.parent / "cases")) / "inputs"
DAY = date(2024, 5, 2)


@dataclass
class Outcome:
    """How a night ended, and the rows that it left."""

    lake: Lake
    summary: RunSummary
    error: RecsysBatchError | None

    def rows(self, table: str, *columns: str) -> list[tuple[Any, ...]]:
        return sorted((tuple(row) for row in self.lake.read(table).select(*columns).collect()), key=str)

    def values(self, table: str, column: str) -> list[Any]:
        return [value for (value,) in self.rows(table, column)]

    def refused(self, code: int, *words: str) -> None:
        assert self.error is not None, "the night was not refused"
        assert self.error.exit_code == code, self.error
        for word in words:
            assert word in str(self.error), (word, str(self.error))

    def went_on(self) -> "Outcome":
        assert self.error is None, self.error
        return self


Play = Callable[..., Outcome]


@pytest.fixture
def play(spark, tmp_path) -> Play:
    """Run the night of a case (in part: `stage`), in a copy that a test may change."""
    lake = Lake.at(spark, str(tmp_path / "lake"))

    def run(name: str, *overrides: str, ds: date = DAY, **options: Any) -> Outcome:
        source, copy = CASES / name, tmp_path / name
        if not source.is_dir():
            pytest.skip(f"no folder {source}: these inputs do not come with the project (CASES names their place)")
        if not copy.exists():
            shutil.copytree(source, copy)
        config = load_config(copy / "config.yaml", overrides, {"CASE": str(copy), "LAKE": lake.root})
        summary, error = RunSummary(config.name, ds.isoformat()), None
        try:
            run_night(spark, config, ds, NightOptions(**({"stage": "prepare"} | options)), summary)
        except RecsysBatchError as caught:
            error = caught
        return Outcome(lake, summary, error)

    return run


def eligible(outcome: Outcome) -> set[str]:
    return {item for item, is_eligible in outcome.rows(Tables.ITEMS, "item_id", "eligible") if is_eligible}


def test_angle_brackets_are_no_tags(play):
    outcome = play("angle_brackets").went_on()
    titles = dict(outcome.rows(Tables.ITEMS, "item_id", "title"))
    assert titles == {
        **{"1": "Adapter <USB-C> 2m", "2": "Adapter <HDMI> 2m", "3": "Shirt size <M>", "4": "Shirt size <L>"},
        **{"5": "Bold mug", "6": "Book: if a<b and c>d", "7": "I <3 NY mug"},
    }
    assert outcome.rows(Tables.ITEMS, "item_id", "canonical_item_id") == [(item, item) for item in titles]
    assert eligible(outcome) == set(titles)


def test_words_of_availability_are_read_and_prices_that_are_not_are_named(play):
    play("availability_words").refused(20, "items.price", "5.00 EUR", "read_as")
    outcome = play("availability_words", 'sources.items.0.read_as={"price": "decimal_point"}').went_on()
    rows = [line.split("\t") for line in (CASES / "availability_words/feed.tsv").read_text().splitlines()]
    column = {name: number for number, name in enumerate(rows[0])}
    sold_out = {row[0] for row in rows[1:] if row[column["availability"]] in {"out_of_stock", "outofstock", "sold out"}}
    assert sold_out
    assert not sold_out & eligible(outcome)
    in_stock = {row[0] for row in rows[1:] if row[column["availability"]] in {"in_stock", "in stock"}}
    assert in_stock
    assert in_stock <= eligible(outcome)
    assert all(price is not None for price in outcome.values(Tables.ITEMS, "price"))


def test_one_who_bought_everything_keeps_nobody_back(play):
    outcome = play("bought_everything", stage="").went_on()
    assert outcome.summary.state == "published"
    assert len(set(outcome.values(Tables.USER_RECOMMENDATIONS, "user_id"))) == 30
    checks = {each.check: each for each in outcome.summary.checks if each.table == Tables.USER_RECOMMENDATIONS}
    assert checks["keys_without_candidates"].value == 1
    assert checks["key_coverage"].value == 1


def test_a_catalog_that_broke_off_has_not_arrived(play):
    # The catalogs that count are those of published nights.
    play("catalog_shrunk", ds=date(2024, 5, 1), stage="").went_on()
    play("catalog_shrunk").refused(10, "items_to_recent", "17 tonight, 30 in the nights before")


def test_csv_columns_go_by_name(play):
    outcome = play("csv_column_order").went_on()
    pairs = [
        (line.split(",")[position["user_id"]], line.split(",")[position["item_id"]])
        for file in sorted((CASES / "csv_column_order/events").iterdir())
        for lines in [file.read_text().splitlines()]
        for position in [{name: number for number, name in enumerate(lines[0].split(","))}]
        for line in lines[1:]
    ]
    assert len(pairs) == 96
    assert Counter(outcome.rows(Tables.INTERACTIONS, "user_id", "item_id")) == Counter(pairs)


def test_milliseconds_taken_for_seconds_are_wrong_and_not_late(play):
    play("epoch_milliseconds").refused(20, "all 48 rows", "milliseconds", "TIMESTAMP_MILLIS")
    outcome = play("epoch_milliseconds", 'sources.events.0.read_as={"event_time": "epoch_milliseconds"}').went_on()
    times = outcome.values(Tables.INTERACTIONS, "event_time")
    assert len(times) == 48
    assert datetime.fromtimestamp(1714557291, UTC).replace(tzinfo=None) in [time.replace(tzinfo=None) for time in times]


def test_event_ids_that_start_again_drop_nothing(play):
    outcome = play("event_ids_restart").went_on()
    assert len(outcome.values(Tables.INTERACTIONS, "user_id")) == 48
    (check,) = [each for each in outcome.summary.checks if each.check.startswith("reused_id_share")]
    assert check.verdict == "warn"


def test_words_of_the_shop_for_event_types_are_named(play):
    play("event_words").refused(20, "unknown_event_type 48", "'page_view'", "'add_to_cart'", "'transaction'")


def test_brackets_in_a_file_name_are_no_pattern(play):
    assert len(play("file_brackets").went_on().values(Tables.INTERACTIONS, "user_id")) == 48


def test_ids_of_double_columns_are_the_integers_they_are(play):
    outcome = play("float_ids").went_on()
    users, items = outcome.values(Tables.INTERACTIONS, "user_id"), outcome.values(Tables.INTERACTIONS, "item_id")
    assert len(items) >= 48
    assert {len(user) for user in users if user} == {8}
    assert "12345670" in users
    assert set(items) <= {str(number) for number in range(20000000, 20000030)}


def test_invisible_characters_leave_ids(play):
    outcome = play("ids_invisible").went_on()
    kept = outcome.rows(Tables.INTERACTIONS, "user_id", "item_id")
    assert {item for _, item in kept} == {"SKU1"}
    refused = set(outcome.values("events_quarantine", "user_id"))
    written = (CASES / "ids_invisible/events/a.csv").read_text().strip().split("\n")[1:]
    # What is visible makes another id: a Cyrillic letter, a blank inside, an apostrophe.
    assert refused == {"cyr", "inner_nbsp", "quote"}
    assert len(kept) + len(refused) == len(written)


def test_an_attribute_given_twice_ends_no_night(play):
    assert len(play("map_duplicate_key_json").went_on().values(Tables.ITEMS, "item_id")) == 30


def test_what_is_no_number_is_missing(play):
    outcome = play("nan_numbers").went_on()
    prices = dict(outcome.rows(Tables.ITEMS, "item_id", "price"))
    assert [prices[item] for item in ("103", "104", "105")] == [None] * 3
    assert not {"103", "104", "105"} & eligible(outcome)
    columns = ("user_id", "event_type", "rating", "quantity", "undone")
    rows = {(user, kind): rest for user, kind, *rest in outcome.rows(Tables.INTERACTIONS, *columns)}
    assert rows.get(("a", "rating"), [None])[0] is None
    assert rows["c", "purchase"][-1] is True
    assert rows["d", "purchase"][1:] == [2.0, False]


def test_items_of_one_event_become_events(play):
    outcome = play("nested_items_ga4").went_on()
    assert len(outcome.values(Tables.INTERACTIONS, "item_id")) == 12


def test_a_catalog_of_sold_out_items_is_refused_after_prepare(play):
    play("nothing_available", stage="").refused(20, "0 of 6 items may be recommended", "6 are not available")


def test_nanoseconds_of_parquet_are_read(play):
    outcome = play("parquet_nanoseconds").went_on()
    times = [time.replace(tzinfo=None) for time in outcome.values(Tables.INTERACTIONS, "event_time")]
    assert len(times) == 48
    assert datetime(2024, 5, 1, 9, 54, 51) in times


def test_partition_values_are_text(play):
    outcome = play("partition_leading_zeros").went_on()
    assert set(outcome.values(Tables.INTERACTIONS, "item_id")) == {"00100", "00101"}


def test_words_for_nobody_are_no_user(play):
    play("placeholder_user_ids").refused(20, "refused rows: placeholder_user_id 11")
    outcome = play("placeholder_user_ids", "gates.max_quarantine_share=1").went_on()
    words = {"nan", "NaN", "None", "null", "NULL", "\\N", "undefined", "(not set)", "-", "N/A", "guest"}
    assert set(outcome.values("events_quarantine", "user_id")) == words
    assert len(outcome.values(Tables.USER_HISTORIES, "user_id")) == 2


def test_an_option_that_no_reader_takes_is_named(play):
    play("reader_options").refused(2, "sources.items.0.options", "Delimiter")


def test_a_schema_goes_by_the_names_of_the_header(play):
    ids = play("schema_against_header").went_on().values(Tables.ITEMS, "item_id")
    assert all(item.isdigit() for item in ids)


def test_a_file_cut_in_half_is_named_and_may_come(play):
    play("truncated_gzip").refused(10, "a.csv.gz", "retry")


def test_a_file_of_no_bytes_has_not_arrived(play, tmp_path):
    folder = tmp_path / "zero_byte_file/events"
    play("zero_byte_file", ds=date(2024, 5, 1)).went_on()
    (folder / "2024-05-02.csv").unlink()
    (folder / "2024-05-02.csv").touch()
    play("zero_byte_file").refused(10, "2024-05-02")


def test_every_folder_has_its_test():
    """A folder that nobody looks at proves nothing."""
    if not CASES.is_dir():
        pytest.skip(f"no folder {CASES}: these inputs do not come with the project (CASES names their place)")
    text = Path(__file__).read_text(encoding="utf-8")
    assert [case.name for case in CASES.iterdir() if f'play("{case.name}"' not in text] == []
