"""Users a second through retrieve, rank and rerank of one worker, beside another checkout of this project.

    python benchmarks/scoring.py --against PATH_OF_A_CHECKOUT [--users 2048 --items 20000]

Both score the same drawn shop, in processes of their own, in turns; the median of the turns counts. Prints one line of
JSON a stage.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

STAGES = ("retrieve", "rank", "rerank", "all")
_WIDTH, _NEIGHBORS, _CATEGORIES, _BRANDS = 384, 200, 60, 300
_ROOT = Path(__file__).resolve().parent.parent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--against", type=Path, help="another checkout, such as the commit before")
    parser.add_argument("--users", type=int, default=2048)
    parser.add_argument("--items", type=int, default=20_000)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--category-cap", type=int, default=6)
    parser.add_argument("--score", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.score:
        print(json.dumps(_score(args.score, args.category_cap)))
        return
    with tempfile.TemporaryDirectory() as folder:
        _draw(Path(folder), args.users, args.items)
        trees = {"now": _ROOT} | ({"before": args.against.resolve()} if args.against else {})
        seconds: dict[str, dict[str, list[float]]] = {name: {stage: [] for stage in STAGES} for name in trees}
        for _ in range(args.turns):
            for name, tree in trees.items():
                for stage, value in _run(tree, folder, args.category_cap).items():
                    seconds[name][stage].append(value)
    for stage in STAGES:
        speeds = {name: args.users / statistics.median(of[stage]) for name, of in seconds.items()}
        line: dict[str, object] = {
            "benchmark": f"scoring: {stage}, {args.users:,} users x {args.items:,} items, blended",
            "users_per_second": round(speeds["now"], 1),
        }
        if "before" in speeds:
            line |= {"peer": "checkout before", "peer_users_per_second": round(speeds["before"], 1)}
            line["ratio"] = round(speeds["now"] / speeds["before"], 2)
        print(json.dumps(line))


def _run(tree: Path, folder: str, cap: int) -> dict[str, float]:
    command = [sys.executable, str(_ROOT / "benchmarks/scoring.py"), "--score", folder, "--category-cap", str(cap)]
    env = os.environ | {"PYTHONPATH": str(tree), "OMP_NUM_THREADS": "2"}
    done = subprocess.run(command, env=env, cwd=tree, check=True, capture_output=True, text=True)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def _draw(folder: Path, num_users: int, num_items: int) -> None:
    """Write an item index and profiles as Spark does; items have clusters, so that there is something to find."""
    rng = np.random.default_rng(7)
    centers = rng.standard_normal((_CATEGORIES, _WIDTH))
    category = rng.integers(0, _CATEGORIES, num_items)
    vectors = (centers[category] + 1.5 * rng.standard_normal((num_items, _WIDTH))).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    popularity = rng.zipf(1.4, num_items).clip(max=5000).astype(float)
    items = pa.table(
        {
            "item_index": pa.array(np.arange(num_items), pa.int32()),
            "item_id": [f"item-{n:07d}" for n in range(num_items)],
            "title": [f"title of item {n}" for n in range(num_items)],
            "category_key": [f"category {n}" for n in category],
            "brand": [f"brand {n}" for n in rng.integers(0, _BRANDS, num_items)],
            "eligible": pa.array(rng.random(num_items) < 0.9),
            "vector": pa.array(list(vectors), pa.list_(pa.float32())),
            "popularity": popularity,
        }
    )
    owners = np.repeat(np.arange(num_items), _NEIGHBORS)
    pairs = np.unique(np.stack([owners, rng.integers(0, num_items, owners.size)], axis=1), axis=0)
    neighbors = pa.table(
        {
            "item": pa.array(pairs[:, 0], pa.int32()),
            "neighbor": pa.array(pairs[:, 1], pa.int32()),
            "weight": rng.random(len(pairs)),
        }
    )
    for name, table in (("items", items), ("covisitation", neighbors)):
        (folder / name).mkdir(parents=True)
        pq.write_table(table, folder / name / "part-0.parquet")
    lengths = rng.integers(1, 60, num_users)
    histories = [rng.choice(num_items, size=n, replace=False).astype(np.int32) for n in lengths]
    profiles = pa.table(
        {
            "key": [f"user-{n:07d}" for n in range(num_users)],
            "history": pa.array(histories, pa.list_(pa.int32())),
            "history_weights": pa.array([np.ones(n, dtype=np.float32) for n in lengths], pa.list_(pa.float32())),
            "history_codes": pa.array([np.full(n, 5, dtype=np.int8) for n in lengths], pa.list_(pa.int8())),
            "seen": pa.array([each[: len(each) // 2] for each in histories], pa.list_(pa.int32())),
            "vector": pa.nulls(num_users, pa.list_(pa.float32())),
        }
    )
    pq.write_table(profiles, folder / "profiles.parquet")


def _score(folder: str, cap: int) -> dict[str, float]:
    """Score the drawn shop with the code on the path; return seconds by stage."""
    from recsys_batch.contracts.config.night import Rerank, Retrieve
    from recsys_batch.contracts.schemas import PROFILES
    from recsys_batch.contracts.worker_task import TaskInfo, enter_task
    from recsys_batch.workers.item_index import read_item_index
    from recsys_batch.workers.rank import RankCandidates
    from recsys_batch.workers.rerank import RerankCandidates
    from recsys_batch.workers.retrieve import RetrieveCandidates

    enter_task(TaskInfo(partition=0, cpus=2))
    index = read_item_index(folder)
    assert index.num_items
    table = pq.read_table(f"{folder}/profiles.parquet")
    for field in PROFILES:
        if field.name not in table.column_names:
            table = table.append_column(field, pa.nulls(len(table), field.type))
    table = table.select(PROFILES.names).cast(PROFILES)
    config = Retrieve()
    progress = tempfile.mkdtemp()
    tasks = {
        "retrieve": RetrieveCandidates(folder, config, "cpu", 2, progress),
        "rank": RankCandidates(config, progress),
        "rerank": RerankCandidates(folder, "user", Rerank(category_cap=cap), 2.0, progress),
    }
    seconds = {}
    for name, task in tasks.items():
        batches = table.to_batches(max_chunksize=2000)
        started = time.perf_counter()
        table = pa.Table.from_batches(list(task(iter(batches))))
        seconds[name] = time.perf_counter() - started
    return seconds | {"all": sum(seconds.values())}


if __name__ == "__main__":
    main()
