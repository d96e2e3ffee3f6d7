"""Back to an earlier release: spark-submit ... jobs/rollback.py --config conf/X.yaml --ds DATE [--release ID]."""

from pathlib import Path

from recsys_batch.cli import job_parser, read_config, run_job
from recsys_batch.contracts.identity import parse_ds
from recsys_batch.report.summary import RunSummary, reporting
from recsys_batch.spark.lake.tables import Lake
from recsys_batch.spark.session import get_session
from recsys_batch.upkeep.rollback import rollback


def main() -> None:
    """Parse, build, run, close."""
    parser = job_parser("Publish an earlier release of a date again, from its retained slices.")
    parser.add_argument("--release", default="", metavar="ID", help="which one; the release before where left out")
    parser.add_argument("--status-file", default="", help="write what was done here as JSON")
    args = parser.parse_args()
    with reporting(RunSummary(f"rollback {Path(args.config).stem}", args.ds), args.status_file) as summary:
        config, ds = read_config(args), parse_ds(args.ds)
        summary.name = f"rollback {config.name}"
        spark = get_session(f"recsys-batch rollback {config.name} {args.ds}")
        try:
            rollback(Lake.at(spark, config.lake.root), ds, args.release, summary)
        finally:
            spark.stop()


if __name__ == "__main__":
    run_job(main)
