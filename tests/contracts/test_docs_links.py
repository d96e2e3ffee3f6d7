"""What README and docs point at exists, and is what the link's text says."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
LINK = re.compile(r"\[([^\]]+)\]\(([^)#\s]+)(?:#[^)]*)?\)")


def links(page: Path) -> list[tuple[str, str]]:
    return [(text, target) for text, target in LINK.findall(page.read_text(encoding="utf-8")) if "://" not in target]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_to_a_file(page: Path) -> None:
    broken = [target for _, target in links(page) if not (page.parent / target).exists()]
    assert broken == []


def test_a_link_that_names_a_definition_leads_to_it() -> None:
    named = [
        (text.strip("`"), (page.parent / target).read_text(encoding="utf-8"))
        for page in PAGES
        for text, target in links(page)
        if re.fullmatch(r"`\w+`", text) and target.endswith(".py")
    ]
    assert len(named) >= 9
    assert [name for name, source in named if not re.search(rf"^(def|class) {name}\b", source, re.MULTILINE)] == []


def test_the_six_places_that_newcomers_look_for_are_listed() -> None:
    page = (ROOT / "docs/contributing.md").read_text(encoding="utf-8")
    for question in ("bot", "vector", "ties", "threshold", "release", "candidate source"):
        (row,) = [line for line in page.splitlines() if line.startswith("| ") and question in line and "?" in line]
        assert LINK.search(row)


def test_the_front_door_fits_a_few_screens() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 150
    helped = re.findall(r"^[a-z%-]+:.*## ", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    assert 10 <= len(helped) <= 22
