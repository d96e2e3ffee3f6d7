"""Training data: spark-submit ... jobs/make_datasets.py --config conf/X.yaml --ds DATE [--split NAME ...]."""

from recsys_batch.cli import job_parser, read_config, run_job
from recsys_batch.contracts.identity import parse_ds
from recsys_batch.learn.datasets import make_datasets
from recsys_batch.report.datasets import print_datasets
from recsys_batch.report.progress import open_console
from recsys_batch.spark.lake.tables import Lake
from recsys_batch.spark.session import get_session


def main() -> None:
    """Parse, build, run, close."""
    parser = job_parser("Write labels and splits of a prepared date, check them for leaks, and write their manifests.")
    parser.add_argument("--split", action="append", default=[], help="name in datasets.splits; default: all of them")
    args = parser.parse_args()
    config, ds = read_config(args), parse_ds(args.ds)
    spark = get_session(f"recsys-batch make_datasets {config.name} {args.ds}")
    try:
        manifests = make_datasets(Lake.at(spark, config.lake.root), config, ds, args.split)
    finally:
        spark.stop()
    print_datasets(open_console(), manifests)


if __name__ == "__main__":
    run_job(main)
