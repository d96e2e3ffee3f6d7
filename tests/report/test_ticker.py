"""The log tells of a long step that it is still at work, and nothing of short ones."""

import logging
import time

import pytest

from recsys_batch.report.progress import Ticker


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records]


def test_a_long_step_is_told_of_until_it_ends(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "recsys_batch.progress")
    ticker = Ticker()
    deadline = time.monotonic() + 20
    with ticker.ticking("prepare", lambda: "3 of 8 tasks", every=0.05):
        ticker.begin("writing items")
        while len(lines(caplog)) < 3 and time.monotonic() < deadline:
            time.sleep(0.01)
        ticker.begin("writing interactions")
        while "interactions" not in lines(caplog)[-1] and time.monotonic() < deadline:
            time.sleep(0.01)
    said = lines(caplog)
    assert said[0] == "prepare: writing items, 0 s so far, 3 of 8 tasks"
    assert said[-1] == "prepare: writing interactions, 0 s so far, 3 of 8 tasks"
    time.sleep(0.2)
    assert lines(caplog) == said


def test_of_many_short_steps_nothing_is_said(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "recsys_batch.progress")
    ticker = Ticker()
    # Together they take longer than a tick, none by itself does.
    with ticker.ticking("prepare", str, every=1.0):
        for _ in range(15):
            ticker.begin("writing items")
            time.sleep(0.1)
    assert lines(caplog) == []


def test_what_only_tells_ends_nothing(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "recsys_batch.progress")

    def broken() -> str:
        raise OSError("the session is gone")

    deadline = time.monotonic() + 20
    with Ticker().ticking("publish", broken, every=0.05):
        while len(lines(caplog)) < 2 and time.monotonic() < deadline:
            time.sleep(0.01)
    assert lines(caplog)[:2] == ["publish: 0 s so far"] * 2
    with pytest.raises(ValueError, match="mine"), Ticker().ticking("publish", str):
        raise ValueError("mine")
