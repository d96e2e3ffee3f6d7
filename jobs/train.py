"""Train on the shop's own data: spark-submit ... jobs/train.py --config conf/X.yaml --ds DATE.

With `--task NAME` ... the tasks of these names, with `--ranker` the ranker of the lists.
"""

from datetime import date

from recsys_batch.cli import job_parser, read_config, run_job
from recsys_batch.contracts.config.night import Config
from recsys_batch.contracts.identity import parse_ds
from recsys_batch.learn.train import TrainOptions, train_models
from recsys_batch.replay.train import train_ranker
from recsys_batch.report.progress import open_console
from recsys_batch.report.training import print_training
from recsys_batch.spark.lake.tables import Lake
from recsys_batch.spark.session import get_session


def main() -> None:
    """Parse, build, run, close."""
    parser = job_parser("Train the encoder and its heads on a finished dataset, register the version, promote it.")
    parser.add_argument("--task", action="append", default=[], help="name in training.tasks; default: all of them")
    parser.add_argument("--ranker", action="store_true", help="train the ranker of the lists, on earlier nights")
    parser.add_argument("--fresh", action="store_true", help="start over instead of going on with an earlier run")
    parser.add_argument("--no-promote", action="store_true", help="register the version, leave the champion")
    args = parser.parse_args()
    config, ds = read_config(args), parse_ds(args.ds)
    if args.ranker:
        _train_ranker(config, ds, not args.no_promote)
        return
    spark = get_session(f"recsys-batch train {config.name} {args.ds}")
    try:
        lake = Lake.at(spark, config.lake.root)
        report = train_models(lake, config, ds, TrainOptions(args.task, args.fresh, not args.no_promote))
    finally:
        spark.stop()
    outcome, costs = report.outcome, report.outcome.costs
    notes = {
        "version": f"{report.model}@{report.version}",
        "encoder": f"{costs['num_parameters']:,.0f} parameters, {costs['texts_per_second']:,.0f} texts/s",
        "training": f"{costs['train_steps']:,.0f} steps, {costs['train_seconds']:,.0f} s",
        "champion": f"{'yes' if report.is_champion else 'no'}: {report.reason}",
    }
    title = f"{config.name} {args.ds}: {report.model}, test part of {config.training.split}"
    print_training(open_console(), title, outcome.examples, outcome.before, outcome.after, notes)


def _train_ranker(config: Config, ds: date, promoting: bool) -> None:
    spark = get_session(f"recsys-batch train ranker {config.name} {ds}")
    try:
        report = train_ranker(spark, config, ds, promoting)
    finally:
        spark.stop()
    metric = f"ndcg@{config.rerank.top_n}"
    notes = {
        "version": f"{report.name}@{report.version}",
        "measured": "before: the blend of the config; after: the ranker; on users of the newest cut who taught nothing",
        **{
            f"{kind} lists": f"{each.recall:.1%} of what was wanted was proposed; gained most by "
            + ", ".join(f"{name} {share:.0%}" for name, share in list(each.gains.items())[:5])
            for kind, each in report.kinds.items()
        },
        "training": f"{report.seconds:,.0f} s",
        "champion": f"{'yes' if report.verdict.is_champion else 'no'}: {report.verdict.reason}",
        "to use it": f"--set ranker=registry:{report.name}",
    }
    print_training(
        open_console(),
        f"{config.name} {ds}: {report.name}",
        {kind: each.num_learned for kind, each in report.kinds.items()},
        {f"{kind}.{metric}": each.blend for kind, each in report.kinds.items()},
        {f"{kind}.{metric}": each.ranker for kind, each in report.kinds.items()},
        notes,
    )


if __name__ == "__main__":
    run_job(main)
