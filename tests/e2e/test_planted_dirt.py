"""The rules of `prepare` find what the demo shop's generator planted, and little else."""

from pathlib import Path

from benchmarks.planted_dirt import score_rules
from recsys_batch.report.summary import RunSummary
from tests.e2e.conftest import DS


def test_every_rule_finds_the_planted_dirt(spark, demo_shop: Path, published: tuple[Path, RunSummary]) -> None:
    lake, _ = published
    scores = {score.rule: score for score in score_rules(spark, str(demo_shop), str(lake), DS.isoformat())}
    assert {name for name, s in scores.items() if min(s.precision, s.recall) < 0.95} == set()
    planted = {name for name, score in scores.items() if score.planted}
    assert {"bot", "test_account", "exact_duplicate", "duplicate_click", "clock_error", "late_event"} <= planted
