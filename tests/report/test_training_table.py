"""The table after a training job."""

from io import StringIO

from rich.console import Console

from recsys_batch.report.training import print_training


def test_a_row_a_metric_and_the_notes() -> None:
    out = StringIO()
    examples = {"search": 1200, "rating": 30, "tags": 5}
    before = {"search.ndcg@10": 0.25, "rating.rmse": 1.5}
    after = {"search.ndcg@10": 0.5, "search.hit_rate@10": 0.75, "rating.rmse": 1.25}
    notes = {"champion": "no: model 'encoder' [worse]"}
    print_training(Console(file=out, width=100), "demo [x]", examples, before, after, notes)
    lines = [line.strip() for line in out.getvalue().splitlines() if line.startswith("│")]
    assert [tuple(cell.strip() for cell in line[1:-1].split("│")) for line in lines] == [
        ("search", "1,200", "ndcg@10", "0.2500", "0.5000"),
        ("", "", "hit_rate@10", "", "0.7500"),
        ("rating", "30", "rmse", "1.5000", "1.2500"),
        ("tags", "5", "not measured: no test examples", "", ""),
    ]
    assert "demo [x]" in out.getvalue()
    assert "champion: no: model 'encoder' [worse]" in out.getvalue()
