"""What an encoding task takes of an executor, as arithmetic."""

import pytest

from recsys_batch.spark.resources import ClusterFacts, TaskShare, choose_share


@pytest.mark.parametrize(
    ("facts", "gpu_share", "share"),
    [
        # Without GPUs: one task an executor, with all its cores.
        (ClusterFacts("spark://h:1", 3, 8), 1.0, TaskShare(8, 0.0, 3)),
        (ClusterFacts("local-cluster[2,2,1024]", 2, 2), 1.0, TaskShare(2, 0.0, 2)),
        # With GPUs: a task a GPU, the cores divided.
        (ClusterFacts("yarn", 2, 8, 1), 1.0, TaskShare(8, 1.0, 2)),
        (ClusterFacts("k8s://https://h", 2, 9, 4), 1.0, TaskShare(2, 1.0, 8)),
        (ClusterFacts("yarn", 1, 8, 2), 0.5, TaskShare(2, 0.5, 4)),
        (ClusterFacts("yarn", 1, 8, 4), 2.0, TaskShare(4, 2.0, 2)),
        # Fewer cores than GPUs.
        (ClusterFacts("yarn", 1, 2, 4), 1.0, TaskShare(1, 1.0, 2)),
        # Spark refuses profiles, or nobody knows the executors yet.
        (ClusterFacts("local[4,4]", 0, 0), 1.0, None),
        (ClusterFacts("local[*]", 0, 0), 0.5, None),
        (ClusterFacts("yarn", 0, 8), 1.0, None),
        (ClusterFacts("spark://h:1", 2, 0), 1.0, None),
    ],
)
def test_share(facts: ClusterFacts, gpu_share: float, share: TaskShare | None) -> None:
    assert choose_share(facts, gpu_share) == share
