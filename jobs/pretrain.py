"""Pre-train on the shop's texts: python jobs/pretrain.py --config conf/X.yaml --ds DATE; registers, promotes nothing.

With --export it is run by spark-submit: Spark first writes the examples of the dataset, and is closed again.
"""

from recsys_batch.cli import job_parser, read_config, run_job
from recsys_batch.contracts.identity import parse_ds
from recsys_batch.learn.pretrain import check_split, pretrain_config
from recsys_batch.report.progress import open_console
from recsys_batch.report.training import print_pretraining
from recsys_batch.spark.datasets.export import export_examples
from recsys_batch.spark.lake.tables import Lake
from recsys_batch.spark.session import get_session


def main() -> None:
    """Parse, build, run, close."""
    parser = job_parser("Pre-train an encoder on the texts of a dataset and of files, and register the version.")
    parser.add_argument("--export", action="store_true", help="write the dataset's examples first (needs Spark)")
    parser.add_argument("--fresh", action="store_true", help="start over instead of going on with an earlier run")
    args = parser.parse_args()
    config, ds = read_config(args), parse_ds(args.ds)
    check_split(config)
    if args.export and config.pretrain.split:
        spark = get_session(f"recsys-batch pretrain {config.name} {args.ds}")
        try:
            lake = Lake.at(spark, config.lake.root)
            export_examples(lake, config.pretrain.split, ds, config.datasets.category_levels)
        finally:
            spark.stop()
    print_pretraining(open_console(), pretrain_config(config, ds, fresh=args.fresh))


if __name__ == "__main__":
    run_job(main)
