"""Settings of a block and of a night: what holds inside, and what comes back."""

import pytest

from recsys_batch.spark.session import night_settings, with_settings

ADAPTIVE, COMPILED = "spark.sql.adaptive.enabled", "spark.sql.codegen.wholeStage"
KEY = "spark.recsys_batch.of_a_test"


@pytest.mark.parametrize(
    ("megabytes", "off"),
    [(0.5, {ADAPTIVE, COMPILED}), (1, {ADAPTIVE}), (63.9, {ADAPTIVE}), (64, set()), (5000, set())],
)
def test_what_a_night_leaves_out_depends_on_its_input(megabytes, off):
    settings = night_settings(int(megabytes * 2**20))
    assert {key for key in (ADAPTIVE, COMPILED) if settings.get(key) == "false"} == off


def test_settings_hold_in_the_block_alone(spark):
    spark.conf.set(KEY, "before")
    with with_settings(spark, {KEY: "within"}):
        assert spark.conf.get(KEY) == "within"
    assert spark.conf.get(KEY) == "before"
    spark.conf.unset(KEY)
    with pytest.raises(ValueError, match="of the block"), with_settings(spark, {KEY: "within"}):
        raise ValueError("of the block")
    assert spark.conf.get(KEY, None) is None


def test_a_night_s_settings_change_no_row(spark, frame):
    rows = [{"k": n % 7, "v": n / 3} for n in range(200)]
    made = []
    for size in (0, 2**21, 2**30):
        with with_settings(spark, night_settings(size)):
            table = frame({"k": "int", "v": "double"}, rows)
            sums = table.groupBy("k").sum("v").join(table.groupBy("k").count(), "k")
            made.append(sorted((row[0], round(row[1], 9), row[2]) for row in sums.collect()))
    assert made[0] == made[1] == made[2]
    assert made[0][0] == (0, pytest.approx(sum(n / 3 for n in range(0, 200, 7))), 29)
