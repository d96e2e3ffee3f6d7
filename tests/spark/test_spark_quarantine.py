from datetime import date

from recsys_batch.spark.inputs.quarantine import quarantine

D1, D2 = date(2026, 6, 29), date(2026, 6, 30)


def test_only_refused_rows_of_the_date_are_replaced(frame, lake):
    def classified(*statuses):
        types = {"user_id": "string", "item_index": "int", "status": "string"}
        return frame(types, [{"user_id": f"of {status}", "status": status} for status in statuses])

    def stored():
        return sorted((row.ds, row.user_id, row.reason, row.run_id) for row in lake.read("q").collect())

    quarantine(lake, "q", classified("used"), D1, "r0", 0)
    assert not lake.exists("q")
    quarantine(lake, "q", classified("used", "filtered", "outside_window", "duplicate", "unknown_item"), D1, "r1", 2)
    quarantine(lake, "q", classified("missing_user_id"), D2, "r2", 1)
    first = [(D1, "of duplicate", "duplicate", "r1"), (D1, "of unknown_item", "unknown_item", "r1")]
    assert stored() == [*first, (D2, "of missing_user_id", "missing_user_id", "r2")]
    quarantine(lake, "q", classified("duplicate", "used"), D2, "r3", 1)
    assert stored() == [*first, (D2, "of duplicate", "duplicate", "r3")]
    quarantine(lake, "q", classified("used"), D2, "r4", 0)
    assert stored() == first
    assert lake.read("q").columns == ["user_id", "reason", "ds", "run_id"]
