"""What is printed of a registered version: every metric once, its variants in columns."""

import io

from rich.console import Console

from recsys_batch.contracts.model_version import ModelVersion
from recsys_batch.report.model_version import print_model_version


def test_metrics_by_variant() -> None:
    metrics = {"ndcg@10": 0.5, "speed_ratio": 2.25, "ndcg@10[dim=64]": 0.4375, "distillation.cosine": 0.9}
    version = ModelVersion("encoder", "encoder", {}, {}, metrics, ("encoder/abc",), "0.1", 7)
    stream = io.StringIO()
    print_model_version(Console(file=stream, width=100), version)
    lines = stream.getvalue().splitlines()
    assert f"encoder/{version.version} (encoder)" in stream.getvalue()
    (row,) = [line.split() for line in lines if "ndcg@10" in line]
    assert [cell for cell in row if cell != "│"] == ["ndcg@10", "0.5", "0.4375"]
    (row,) = [line.split() for line in lines if "speed_ratio" in line]
    assert "2.25" in row
    assert any("dim=64" in line for line in lines)
    assert "parents: encoder/abc; seed 7" in stream.getvalue()
