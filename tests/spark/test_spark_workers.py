"""Python workers as the shipped configuration starts them."""

from collections.abc import Iterator


def test_workers_are_forked_with_torch_and_without_a_device(spark) -> None:
    def look(rows: Iterator[int]) -> list[tuple[bool, bool]]:
        import sys

        had_torch = "torch" in sys.modules
        import torch

        return [(had_torch, torch.cuda.is_initialized())]

    assert spark.sparkContext.parallelize([0], 1).mapPartitions(look).collect() == [(True, False)]
