"""Published request lists on held-out targets, beside baselines, on a lake made by hand."""

from datetime import date
from math import log2

import pytest
import yaml

from recsys_batch.contracts.columns import Tables
from recsys_batch.contracts.config.load import load_config
from recsys_batch.contracts.errors import ConfigError, InputNotReadyError
from recsys_batch.measure.hold_out import NIGHT
from recsys_batch.measure.requests import measure_requests
from recsys_batch.spark.lake.prepared import replace_prepared
from recsys_batch.spark.publish.release import Release, publish, stage_rows
from tests.contracts.test_load_config import MINIMAL
from tests.spark.test_spark_measure import ITEMS
from tests.spark.test_spark_published import RANKED

pytestmark = pytest.mark.long

DS, RUN = date(2026, 6, 20), "20260620-aaaaaaaa-aaaaaa"
REQUESTS = Tables.REQUEST_RECOMMENDATIONS
ACTS = {"user_id": "string", "item_index": "int", "event_type": "string", "age_days": "double", "type_weight": "double"}
ACTS |= {"undone": "boolean"}


@pytest.fixture
def config(tmp_path):
    (tmp_path / "targets.csv").write_text("id,item\nr1,b\nr2,E\nr3,C\nr4,nothing\n")
    settings = yaml.safe_load(MINIMAL)
    source = {"format": "csv", "path": str(tmp_path / "targets.csv"), "options": {"header": "true"}}
    settings["sources"]["targets"] = [source | {"select": {"request_id": "id", "item_id": "item"}}]
    settings["prepare"] = {"id_case": "upper"}
    settings["rerank"] = {"top_n": 3}
    path = tmp_path / "shop.yaml"
    path.write_text(yaml.safe_dump(settings))
    return load_config(path, (f"lake.root={tmp_path}/lake",), env={})


@pytest.fixture
def published(lake, frame):
    """Requests r1 to r4; in the log A and B go together, C is popular, E is a twin of D."""
    lists = {"r1": "BCD", "r2": "CBD", "r3": "AB", "r4": "ABC"}
    rows = [
        {"key": key, "rank": n, "item": item, "score": 1 / n, "sources": ["content"], "reason": ("k", "a", "t")}
        for key, items in lists.items()
        for n, item in enumerate(items, 1)
    ]
    stage_rows(lake, REQUESTS, frame(RANKED, rows), DS, RUN, "m")
    publish(lake, Release(RUN, DS, RUN, "publish", {REQUESTS: 11}, (), {}, "hash", "1", {}, None, (REQUESTS,)))
    items = [
        {"item_id": i, "canonical_item_id": "D" if i == "E" else i, "item_index": n, "eligible": i != "E"}
        | {"canonical_index": 3 if i == "E" else n}
        for n, i in enumerate("ABCDE")
    ]
    types = ITEMS | {"category": "string"}
    replace_prepared(lake, Tables.ITEMS, frame(types, items), DS, RUN)
    bought = {"u1": "AB", "u2": "AB", "u3": "CAB", "u4": "CD", "u5": "C", "u6": "CD", "u7": "CB"}
    acts = [
        {"user_id": user, "item_index": "ABCDE".index(item), "event_type": "purchase", "age_days": 9.0 - n}
        | {"type_weight": 1.0, "undone": False}
        for user, items in bought.items()
        for n, item in enumerate(items)
    ]
    replace_prepared(lake, Tables.INTERACTIONS, frame(ACTS, acts), DS, RUN)
    requests = [("r1", ["A"]), ("r2", ["C", "unknown"]), ("r3", ["C"]), ("r4", [])]
    given = [{"request_id": key, "item_ids": items} for key, items in requests]
    replace_prepared(
        lake, Tables.REQUESTS, frame({"request_id": "string", "item_ids": "array<string>"}, given), DS, RUN
    )
    return lake


def test_targets_are_found_in_the_lists_of_the_night_and_of_the_baselines(published, config):
    found = {each.run: each for each in measure_requests(published, config, DS, ("purchase",))}
    assert next(iter(found)) == NIGHT
    # r1: B is first. r2: D, which is one product with E, is third. r3: C is not there. r4: nobody knows the item.
    assert found[NIGHT].values["hit_rate@10"].mean == pytest.approx(2 / 4)
    assert found[NIGHT].values["ndcg@10"].mean == pytest.approx((1 + 1 / log2(4)) / 4)
    # Users of each item: C 5, B 4, A 3, D 2. Without what the request holds, r1 has C, B, D and r2 has B, A, D, where
    # D stands for its twin E; r3 holds its target.
    popular = found["popularity"]
    assert popular.values["hit_rate@10"].mean == pytest.approx(2 / 4)
    assert popular.values["ndcg@10"].mean == pytest.approx((1 / log2(3) + 1 / log2(4)) / 4)
    assert popular.against["hit_rate@10"].mean == pytest.approx(0)
    # With A go B (of 3 and 4 users, 3 in common) and C (1 in common); with C go B (2), D (2) and A (1).
    assert found["ItemKNN"].values["hit_rate@3"].mean == pytest.approx(2 / 4)


def test_what_is_missing_is_told(published, lake, config):
    with pytest.raises(InputNotReadyError, match="nothing published for 2026-06-21"):
        measure_requests(lake, config, date(2026, 6, 21), ("purchase",))
    without = config.model_copy(update={"sources": config.sources.model_copy(update={"targets": []})})
    with pytest.raises(ConfigError, match=r"sources\.targets"):
        measure_requests(lake, without, DS, ("purchase",))


def test_a_case_without_an_item_is_one_that_no_list_finds(published, config, tmp_path):
    (tmp_path / "targets.csv").write_text("id,item\nr1,B\nr5,\n")
    found = measure_requests(published, config, DS, ("purchase",))
    assert found[0].values["hit_rate@10"].mean == pytest.approx(1 / 2)
