"""Offline metrics of published request lists: spark-submit ... jobs/evaluate.py --config conf/X.yaml --ds DATE."""

import json

from recsys_batch.cli import job_parser, read_config, run_job
from recsys_batch.contracts.identity import parse_ds
from recsys_batch.rules.metrics.ranking import hit_rate, ndcg
from recsys_batch.spark.lake.tables import Lake
from recsys_batch.spark.publish.evaluation import target_ranks
from recsys_batch.spark.session import get_session


def main() -> None:
    """Parse, build, run, close."""
    args = job_parser("Hit rate and NDCG of the published request lists on the held-out targets.").parse_args()
    config, ds = read_config(args), parse_ds(args.ds)
    spark = get_session(f"recsys-batch evaluate {config.name} {args.ds}")
    try:
        ranks = target_ranks(Lake.at(spark, config.lake.root), config, ds)
    finally:
        spark.stop()
    metrics = {f"hr@{k}": round(hit_rate(ranks, k), 4) for k in (3, 10)} | {"ndcg@10": round(ndcg(ranks, 10), 4)}
    print(json.dumps({"config": config.name, "ds": args.ds, "cases": int(ranks.size), **metrics}))


if __name__ == "__main__":
    run_job(main)
