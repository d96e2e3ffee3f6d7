"""The profile page: well-formed, self-contained, nothing from the data taken for HTML."""

import math
import re
from datetime import date
from html.parser import HTMLParser
from xml.etree import ElementTree

import pytest

from recsys_batch.contracts.data_profile import (
    Bin,
    ColumnProfile,
    Days,
    LongTail,
    QuarantineSample,
    TableProfile,
    mask_id,
    mask_text,
    share_up_to,
)
from recsys_batch.contracts.gates import Check
from recsys_batch.report.profile import profile_page
from recsys_batch.report.svg import bars, curve, short, stacked_area

EVIL = "<script>alert(1)</script>\"'&"
_VOID = {"meta", "br", "link", "img", "input"}


class Page(HTMLParser):
    """Fails on a tag that is not closed in order; keeps all text and attributes."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in _VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def profile(**more) -> TableProfile:
    whole = {
        "table": "events",
        "ds": date(2026, 6, 30),
        "statuses": {"used": 900, "outside_window": 60, "missing_user_id": 40},
        "columns": (
            ColumnProfile("user_id", "id", 0.04, distinct=120),
            ColumnProfile("brand", "category", 0.5, distinct=2, top=((EVIL, 30), ("Acme", 10))),
            ColumnProfile("price", "number", 0.0, low="1", high="9", mean=3.5, quantiles=(1.0, 2.0, 3.0, 4.0, 5.0)),
            ColumnProfile("session_id", "id", 1.0, distinct=0),
        ),
        "quarantine": (QuarantineSample("missing_user_id", 40, ({"query": EVIL, "item_id": "85…(6)"},)),),
        "days": Days(
            2, (date(2026, 6, 28), date(2026, 6, 30)), date(2026, 6, 30), {"view": (600, 250), EVIL: (40, 50)}
        ),
        "long_tail": LongTail(100, ((1, 0.3), (10, 0.6), (100, 1.0)), 50, (Bin(1, 2, 20), Bin(2, 4, 30))),
        "prices": (Bin(1.0, 1.58, 3), Bin(1.58, 2.51, 7)),
    }
    return TableProfile(**(whole | more))


@pytest.fixture(scope="module")
def html() -> str:
    checks = [
        Check("events", "repeated_share", 0.01, 0.2, "pass"),
        Check("events", f"null_share[{EVIL}]", 0.4, 0.25, "block"),
    ]
    return profile_page([profile(), profile(table="items", days=None, long_tail=None)], f"Shop {EVIL}", checks)


def test_what_comes_from_the_data_is_shown_and_never_run(html: str) -> None:
    page = Page(html)
    assert "script" not in page.tags
    assert EVIL in page.text
    assert f"Shop {EVIL}" in page.text
    assert not any(name.startswith("on") for name, _ in page.attributes)


def test_the_page_needs_nothing_from_elsewhere(html: str) -> None:
    assert not re.search(r"https?:|//[a-z]|@import|url\(|<link|<img|<iframe", html)
    links = [value for name, value in Page(html).attributes if name in ("href", "src")]
    assert links == ["#events", "#items", "#expectations"]
    assert "prefers-color-scheme: dark" in html
    assert 'name="viewport"' in html


def test_charts_are_well_formed_and_speak(html: str) -> None:
    charts = re.findall(r"<svg.*?</svg>", html, re.DOTALL)
    assert len(charts) == 5  # days, items, users, and the prices of both tables
    for chart in charts:
        root = ElementTree.fromstring(chart)
        assert root.get("role") == "img"
        assert root.get("aria-label") == root.findtext("title")
        assert "nan" not in chart


def test_the_numbers_that_a_reader_looks_for_are_there(html: str) -> None:
    text = " ".join(Page(html).text.split())
    for words in (
        "2,000 rows read in 2 input tables",  # 2 * (900 + 60 + 40)
        "90%used: 900",
        "4%quarantined: 40",
        "6%filtered or outside the window: 60",
        "The 10 most popular of 100 items (10%) have at least half of the events.",
        "Never given: session_id.",
        "mean of every 2 days",
    ):
        assert words in text
    # The worst verdict first.
    assert text.index("block") < text.index("pass")


def test_a_step_shows_its_events_a_day() -> None:
    # 600 views in two days are 300 a day; the last step has one day, with 250.
    html = profile_page(
        [profile(days=Days(2, (date(2026, 6, 28), date(2026, 6, 30)), date(2026, 6, 30), {"view": (600, 250)}))], "t"
    )
    chart = next(c for c in re.findall(r"<svg.*?</svg>", html, re.DOTALL) if "Events a day" in c)
    points = re.search(r'points="([^"]+)"', chart)
    assert points is not None
    ys = [float(point.split(",")[1]) for point in points[1].split()]
    base = max(ys)
    assert (base - ys[2]) / (base - ys[0]) == pytest.approx(250 / 300, abs=0.01)


def test_an_empty_table_has_a_page_too() -> None:
    empty = TableProfile("reviews", date(2026, 6, 30), {}, (ColumnProfile("text", "text", 0.0),), ())
    assert "0 rows read" in Page(profile_page([empty], "Shop")).text


@pytest.mark.parametrize(("value", "masked"), [("anna42", "a…(6)"), ("17850", "1…(5)"), ("ab", "…(2)"), ("", "…(0)")])
def test_an_id_keeps_its_first_character_and_length(value: str, masked: str) -> None:
    assert mask_id(value) == masked


def test_a_text_loses_digits_mail_addresses_and_its_end() -> None:
    assert mask_text("call 0171-555 or mail jo@shop.example now") == "call ####-### or mail …@… now"
    assert mask_text("红色连衣裙 2024") == "红色连衣裙 ####"
    assert len(mask_text("x" * 500)) == 40


def test_the_long_tail_adds_up() -> None:
    # 1 item with 50 events, 4 with 40 together, 10 with 10 together: of 100.
    assert share_up_to([(1, 50), (4, 40), (10, 10)]) == ((1, 0.5), (5, 0.9), (15, 1.0))


@pytest.mark.parametrize(
    ("n", "text"), [(0, "0"), (950, "950"), (12_345, "12.3k"), (3_400_000, "3.4M"), (0.25, "0.25")]
)
def test_short_numbers(n: float, text: str) -> None:
    assert short(n) == text


def test_bars_are_as_high_as_their_values() -> None:
    root = ElementTree.fromstring(bars("t", ["a", "b"], [10, 40], ["", ""]))
    heights = [float(bar.get("height", "nan")) for bar in root.iter("rect")]
    assert heights[1] / heights[0] == pytest.approx(4, abs=0.01)
    for chart in (bars("t", [], [], []), curve("t", [], []), stacked_area("t", [], {}, [])):
        assert math.isfinite(float(ElementTree.fromstring(chart).get("viewBox", "").split()[2]))
