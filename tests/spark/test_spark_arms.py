"""Arms of an experiment: who is dealt to which, what is published of it, and how arms are compared."""

import hashlib
from datetime import date

import numpy as np
import pytest
from pyspark.sql import functions as F
from scipy import stats

from recsys_batch.contracts.columns import Tables
from recsys_batch.contracts.config.experiment import Arm, Experiment
from recsys_batch.spark.evaluation.arms import arm_values, compare_arms, published_arms
from recsys_batch.spark.publish.arms import arm_of, by_arm, count_lists
from recsys_batch.spark.publish.gates import with_room
from recsys_batch.spark.publish.release import Release, publish, stage_rows, staged_name
from recsys_batch.spark.session import make_frame, night_settings, with_settings

USERS = Tables.USER_RECOMMENDATIONS
DS, BEFORE = date(2026, 6, 30), date(2026, 6, 29)
SHARES = {"control": 0.5, "capped": 0.3, "free": 0.2}
NUM_USERS = 6_000
RANKED = (
    "key STRING, rank INT, item STRING, score FLOAT, sources ARRAY<STRING>, "
    "reason STRUCT<kind: STRING, anchor: STRING, text: STRING>"
)


@pytest.fixture(scope="module", autouse=True)
def as_for_small_tables(spark):
    with with_settings(spark, night_settings(0)):
        yield


def experiment(name: str = "caps", shares: dict[str, float] = SHARES) -> Experiment:
    return Experiment(name=name, arms=[Arm(name=arm, share=share) for arm, share in shares.items()])


def reference(user: str, name: str = "caps", shares: dict[str, float] = SHARES) -> str:
    """The arm as anyone can tell it from the id."""
    draw = int(hashlib.sha256(f"{name}:{user}".encode()).hexdigest()[:13], 16) / 16**13
    edge = 0.0
    for arm, share in shares.items():
        edge += share
        if draw < edge:
            return arm
    return arm


def dealt(spark, name: str = "caps", partitions: int = 2) -> dict[str, str]:
    users = spark.range(NUM_USERS).repartition(partitions).select(F.concat(F.lit("用户"), "id").alias("user_id"))
    rows = users.withColumn("arm", arm_of(F.col("user_id"), experiment(name))).toArrow().to_pylist()
    return {row["user_id"]: row["arm"] for row in rows}


def test_the_arm_follows_from_the_name_and_the_id_alone(spark) -> None:
    arms = dealt(spark)
    assert arms == {user: reference(user) for user in arms}
    assert dealt(spark, partitions=5) == arms


def test_arms_get_their_shares_and_another_name_deals_anew(spark) -> None:
    arms, others = dealt(spark), dealt(spark, "other")
    pairs = {(a, b): 0 for a in SHARES for b in SHARES}
    for user, arm in arms.items():
        pairs[arm, others[user]] += 1
    # If users are dealt by their shares, and by either name on their own, each pair has its product of shares.
    expected = [NUM_USERS * SHARES[a] * SHARES[b] for a, b in pairs]
    assert stats.chisquare(list(pairs.values()), expected).pvalue > 0.001


def test_values_and_rooms_differ_by_arm(spark) -> None:
    users = make_frame(spark, [(f"u{n}", []) for n in range(12)], "key STRING, seen ARRAY<INT>")
    items = make_frame(spark, [(n, True) for n in range(4)], "item_index INT, eligible BOOLEAN")
    lengths = {"control": 3, "capped": 2, "free": 9}
    rooms = with_room(users, items, 9, by_arm(F.col("key"), experiment(), lengths)).collect()
    assert {row.key: row.room for row in rooms} == {f"u{n}": min(4, lengths[reference(f"u{n}")]) for n in range(12)}


# --- the published rows -----------------------------------------------------------------------------------------------


def release(ds: date, run_id: str, rows: int) -> Release:
    return Release(run_id, ds, run_id, "publish", {USERS: rows}, (), {}, "h", "1", {}, None, (USERS,))


def test_a_table_that_an_older_version_made_gets_the_column(spark, lake) -> None:
    users = [f"u{n}" for n in range(8)]
    rows = [(user, 1, "A", 1.0, ["content"], {"kind": "k", "anchor": None, "text": "t"}) for user in users]
    ranked = make_frame(spark, rows, RANKED)
    stage_rows(lake, USERS, ranked, BEFORE, "old", "m")
    # As an older version staged and made them: without the column.
    old = lake.read(staged_name(USERS)).drop("arm")
    old.write.format("delta").partitionBy("ds").save(lake.path(USERS))
    with_arms = ranked.withColumn("arm", arm_of(F.col("key"), experiment()))
    stage_rows(lake, USERS, with_arms, DS, "new", "m")
    publish(lake, release(DS, "new", len(users)))
    shown = {(row.ds, row.user_id): row.arm for row in lake.read(USERS).collect()}
    assert shown == {(BEFORE, user): None for user in users} | {(DS, user): reference(user) for user in users}
    arms = published_arms(lake, DS)
    assert arms is not None
    assert {row.user_id: row.arm for row in arms.collect()} == {user: reference(user) for user in users}
    counted = count_lists(lake.read_ds(USERS, DS), experiment())
    assert counted == {arm: sum(reference(user) == arm for user in users) for arm in SHARES}
    assert published_arms(lake, BEFORE) is None  # its rows have no release


# --- arms compared ----------------------------------------------------------------------------------------------------


def values_of(spark, rows) -> tuple:
    frame = make_frame(spark, rows, "user_id STRING, arm STRING, `hit@5` DOUBLE")
    return frame.drop("arm"), frame.select("user_id", "arm").where("arm IS NOT NULL")


def test_a_planted_difference_is_found(spark) -> None:
    # Of 400 users of the control every tenth is hit, of 300 of the other arm every fifth.
    rows = [(f"c{n}", "control", float(n % 10 == 0)) for n in range(400)]
    rows += [(f"t{n}", "capped", float(n % 5 == 0)) for n in range(300)]
    rows += [("lonely", "free", 1.0), ("undealt", None, 1.0), ("unmeasured", "capped", None)]
    values, arms = values_of(spark, rows)
    (found,) = compare_arms(values, arms, ["hit@5"], control="control")
    hits = [[1.0] * 60 + [0.0] * 240, [1.0] * 40 + [0.0] * 360]
    expected = stats.ttest_ind(*hits, equal_var=False)
    assert (found.group, found.baseline, found.ours.size, found.theirs.size) == ("capped", "control", 300, 400)
    assert found.difference.mean == pytest.approx(60 / 300 - 40 / 400)
    assert (found.difference.low, found.difference.high) == pytest.approx(tuple(expected.confidence_interval(0.95)))
    assert found.p_value == pytest.approx(expected.pvalue)
    assert found.difference.excludes_zero
    assert arm_values([found]) == {
        "arms": {"control": {"users": 400, "hit@5": 0.1}, "capped": {"users": 300, "hit@5": 0.2}},
        "differences": {
            "capped": {"hit@5": [0.1, *(round(float(edge), 6) for edge in expected.confidence_interval(0.95))]}
        },
    }


def test_alike_arms_differ_as_often_as_chance_has_it(spark) -> None:
    """Forty outcomes of alike arms: a 95% interval misses 0 in two of them, and hardly ever in more than six."""
    rng = np.random.default_rng(11)
    users = [f"u{n}" for n in range(1_000)]
    shares = {"a": 0.5, "b": 0.5}
    metrics = [f"hit@{n}" for n in range(40)]
    hits = rng.random((len(users), len(metrics))) < 0.15
    ddl = ", ".join(["user_id STRING", *(f"`{metric}` DOUBLE" for metric in metrics)])
    values = make_frame(spark, [(user, *map(float, row)) for user, row in zip(users, hits, strict=True)], ddl)
    arms = values.select("user_id", arm_of(F.col("user_id"), experiment("aa", shares)).alias("arm"))
    found = compare_arms(values, arms, metrics)
    assert len(found) == 40
    assert {each.baseline for each in found} == {"a"}
    # Binomial(40, 0.05) is above 6 with a probability of 0.3%.
    assert sum(each.difference.excludes_zero for each in found) <= 6


def test_without_users_of_two_arms_there_is_nothing_to_compare(spark) -> None:
    values, arms = values_of(spark, [("u1", "a", 1.0), ("u2", "a", 0.0)])
    assert compare_arms(values, arms, ["hit@5"], control="gone") == []
    assert compare_arms(values, arms.limit(0), ["hit@5"]) == []
