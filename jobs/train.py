"""Train on the shop's own data: spark-submit ... jobs/train.py --config conf/X.yaml --ds DATE [--task NAME ...]."""

from recsys_batch.cli import job_parser, read_config, run_job
from recsys_batch.contracts.identity import parse_ds
from recsys_batch.learn.train import TrainOptions, train_models
from recsys_batch.report.progress import open_console
from recsys_batch.report.training import print_training
from recsys_batch.spark.lake.tables import Lake
from recsys_batch.spark.session import get_session


def main() -> None:
    """Parse, build, run, close."""
    parser = job_parser("Train the encoder and its heads on a finished dataset, register the version, promote it.")
    parser.add_argument("--task", action="append", default=[], help="name in training.tasks; default: all of them")
    parser.add_argument("--fresh", action="store_true", help="start over instead of going on with an earlier run")
    parser.add_argument("--no-promote", action="store_true", help="register the version, leave the champion")
    args = parser.parse_args()
    config, ds = read_config(args), parse_ds(args.ds)
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


if __name__ == "__main__":
    run_job(main)
