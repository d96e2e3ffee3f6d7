"""Slices of prepared tables: one a date and run, in tables of older versions too."""

from datetime import date

from pyspark.sql import functions as F

from recsys_batch.spark.lake.prepared import read_prepared, replace_prepared

D1, D2 = date(2026, 6, 29), date(2026, 6, 30)


def values(lake, ds, run_id):
    return sorted(row.v for row in read_prepared(lake, "items", ds, run_id).collect())


def test_a_runs_slice_leaves_those_of_other_runs_and_dates(frame, lake):
    def write(ds, run_id, *numbers):
        replace_prepared(lake, "items", frame({"v": "int"}, [{"v": n} for n in numbers]), ds, run_id)

    # An older version made one slice a date.
    older = frame({"v": "int"}, [{"v": 9}]).withColumns({"ds": F.lit(D1), "run_id": F.lit("old")})
    lake.replace_ds("items", older, D1)
    write(D2, "A", 1, 2)
    write(D2, "B", 3)
    write(D1, "A", 4)
    write(D2, "A", 5)  # another try of the same run
    assert values(lake, D2, "A") == [5]
    assert values(lake, D2, "B") == [3]
    assert (values(lake, D1, "A"), values(lake, D1, "old")) == ([4], [9])
    assert values(lake, D2, "old") == []
