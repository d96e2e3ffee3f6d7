"""Search training settings: spark-submit ... jobs/tune.py --config conf/X.yaml --ds DATE; registers no model."""

from recsys_batch.cli import job_parser, read_config, run_job
from recsys_batch.contracts.identity import parse_ds
from recsys_batch.learn.tune import prepare_search, search
from recsys_batch.report.progress import open_console
from recsys_batch.spark.lake.tables import Lake
from recsys_batch.spark.session import get_session
from recsys_batch.training.tune.summary import as_options, print_search


def main() -> None:
    """Parse, build, run, close."""
    parser = job_parser("Search the settings of `training` that the block `tune` names, by a metric on the part valid.")
    parser.add_argument("--fresh", action="store_true", help="start over instead of going on with an earlier search")
    args = parser.parse_args()
    config, ds = read_config(args), parse_ds(args.ds)
    spark = get_session(f"recsys-batch tune {config.name} {args.ds}")
    try:
        job = prepare_search(Lake.at(spark, config.lake.root), config, ds)
    finally:
        spark.stop()  # trials read files; what the session holds is theirs
    result, folder = search(config, job, fresh=args.fresh)
    console = open_console()
    print_search(result, console)
    best = {"loop.metric": result.metric, **result.best.values}
    for line in (f"search: {folder}", "train with the best values:", *as_options(best, "training")):
        console.print(line, markup=False, highlight=False, soft_wrap=True)


if __name__ == "__main__":
    run_job(main)
