"""What nights measure of the lists that are out: a week of nights made by hand, figures by arithmetic."""

from datetime import date, timedelta
from math import log2

import pytest

from recsys_batch.contracts.columns import Tables
from recsys_batch.contracts.config.load import load_config
from recsys_batch.contracts.run_facts import RunFacts
from recsys_batch.night.context import Run
from recsys_batch.night.measure import measure_lists_out
from recsys_batch.night.rank import model_version
from recsys_batch.nn.encoder.encoder import EncoderSettings
from recsys_batch.report.summary import RunSummary
from recsys_batch.spark.lake.runs import record_status
from recsys_batch.spark.publish.release import Release, publish, stage_rows
from recsys_batch.spark.session import in_memory
from tests.contracts.test_load_config import MINIMAL
from tests.spark.test_spark_published import RANKED

pytestmark = pytest.mark.long

USERS = Tables.USER_RECOMMENDATIONS
FIRST = date(2026, 6, 20)
ITEMS = {"item_id": "string", "canonical_item_id": "string", "item_index": "int", "canonical_index": "int"}
ITEMS |= {"eligible": "boolean"}
ACTS = {"user_id": "string", "session_id": "string", "item_id": "string", "event_type": "string"}
ACTS |= {"event_time": "timestamp", "undone": "boolean", "query": "string"}
NAMES = [f"u{n}" for n in range(8)]
GOOD = dict.fromkeys(NAMES, ("A", "B"))
SPOILED = dict.fromkeys(NAMES, ("Y", "Z"))


class Shop:
    """Nights of a small lake, one day after the other; every day half of the users buy what stood first."""

    def __init__(self, spark, lake, frame, config):
        """Begin on the first day, with nothing bought."""
        self.spark, self.lake, self.frame, self.config = spark, lake, frame, config
        self.bought = []

    def given(self, types, rows):
        return in_memory(self.frame(types, rows))

    def remember(self, day, counts):
        """Have a night that was published say what it counted."""
        ds = FIRST + timedelta(days=day)
        record_status(self.lake, ds, f"{ds:%Y%m%d}-aaaaaaaa-000000", "published", "", {}, counts)

    def night(self, day, lists, buyers=4, encoder="e1"):
        ds = FIRST + timedelta(days=day)
        run_id = f"{ds:%Y%m%d}-aaaaaaaa-{day:06}"
        # Each buys a thing of their own on each day, and some of them what the lists of the day before held.
        self.bought += [(user, f"own{day}", ds) for user in NAMES]
        self.bought += [(user, "A", ds) for user in NAMES[:buyers]] if day else []
        items = [f"own{n}" for n in range(9)] + list("ABCYZ")
        catalog = [
            {"item_id": i, "canonical_item_id": i, "item_index": n, "canonical_index": n, "eligible": True}
            for n, i in enumerate(items)
        ]
        acts = [
            {"user_id": user, "session_id": f"{user}{at}", "item_id": item, "event_type": "purchase"}
            | {"event_time": f"{at} 12:00:00", "undone": False}
            for user, item, at in self.bought
        ]
        kept = {Tables.ITEMS: self.given(ITEMS, catalog), Tables.INTERACTIONS: self.given(ACTS, acts)}
        summary = RunSummary("shop", ds.isoformat(), run_id)
        facts = RunFacts(num_rows={USERS: 16})
        settings = EncoderSettings("model")
        run = Run(
            *(self.spark, self.config, ds, self.lake, run_id, settings, encoder * 16, summary),
            facts=facts,
            is_small=True,
            kept=kept,
        )
        rows = [
            {"key": user, "rank": n, "item": item, "score": 1 / n, "sources": ["content"], "reason": ("k", "a", "t")}
            | {"arm": "a" if user < "u2" else "b"}
            for user, items in lists.items()
            for n, item in enumerate(items, 1)
        ]
        stage_rows(
            self.lake, USERS, self.given(RANKED | {"arm": "string"}, rows), ds, run_id, model_version(run, USERS)
        )
        checks = {check.check: check for check in measure_lists_out(run)}
        release = Release(run_id, ds, run_id, "publish", {USERS: 16}, (), {}, "hash", "1", {}, None, (USERS,))
        publish(self.lake, release)
        record_status(self.lake, ds, run_id, "published", "", {}, summary.counts)
        return checks


@pytest.fixture
def shop(spark, lake, frame, tmp_path):
    path = tmp_path / "shop.yaml"
    arms = "[{name: a, share: 0.25}, {name: b, share: 0.75}]"
    path.write_text(f"{MINIMAL}experiment: {{name: trial, arms: {arms}}}\n")
    settings = ("rerank.top_n=2", "rerank.allow_repeats=true", "measure.min_keys=8", f"lake.root={lake.root}")
    return Shop(spark, lake, frame, load_config(path, settings, env={}))


def test_nights_measure_what_is_out_and_stop_where_it_went_bad(shop):
    # Each user has one target or two: `A` at the first place is 1 of 1 + 1 / log2(3), for half of them.
    ndcg = 0.5 * 1 / (1 + 1 / log2(3))
    assert shop.night(0, GOOD) == {}
    for day in (-3, -2, -1):
        shop.remember(day, {"publish.outcome_ndcg": ndcg, "publish.agreement": 1.0})

    steady = shop.night(1, GOOD)
    assert steady["outcome_ndcg@2"].value == pytest.approx(ndcg)
    assert steady["outcome_recall_min@2"].value == pytest.approx(0.25)
    assert steady["outcome_hit_rate@2"].value == 0.5
    assert steady["outcome_keys"].value == 8
    assert steady["agreement"].value == 1
    # Everyone had bought own0 alone by the first day: it leads both lists, and nobody bought it again.
    assert steady["outcome_hit_rate@2[popularity]"].value == steady["outcome_hit_rate@2[own recency]"].value == 0
    assert steady["outcome_ndcg@2[1 to 2 acts]"].value == pytest.approx(ndcg)
    # Users 0 and 1 of arm a bought what stood first, and 2 and 3 of the six in arm b.
    assert steady["outcome_ndcg@2[arm a]"].value == pytest.approx(2 * ndcg)
    assert steady["outcome_ndcg@2[arm b]"].value == pytest.approx(2 * ndcg / 3)
    assert (steady["outcome_keys[arm a]"].value, steady["outcome_keys[arm b]"].value) == (2, 6)
    # A and B of the catalog of 14.
    assert steady["outcome_catalog_coverage@2"].value == pytest.approx(2 / 14)
    assert (steady["outcome_ndcg_to_recent"].verdict, steady["agreement_to_recent"].verdict) == ("pass", "pass")
    assert steady["outcome_ndcg_to_recent"].value == pytest.approx(1)

    weak = shop.night(2, SPOILED, buyers=1, encoder="e2")
    # One buyer of eight where there were four: a quarter of what is usual, and the interval reaches half of it.
    assert weak["outcome_ndcg_to_recent"].value == pytest.approx(0.25)
    assert weak["outcome_ndcg_to_recent"].verdict == "warn"
    # Other lists, of another model.
    assert (weak["agreement"].value, weak["agreement_to_recent"].verdict) == (0, "warn")

    # What was published then is what nobody wants.
    after = shop.night(3, SPOILED, encoder="e2")
    assert (after["outcome_ndcg@2"].value, after["outcome_ndcg_to_recent"].verdict) == (0, "block")
    assert after["agreement_to_recent"].verdict == "pass"
    # Other lists of the same model: stopped before anyone sees them.
    spoiled = shop.night(4, GOOD, encoder="e2")
    assert (spoiled["agreement"].value, spoiled["agreement_to_recent"].verdict) == (0, "block")
