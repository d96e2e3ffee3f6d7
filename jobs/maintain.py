"""Maintenance of a lake: spark-submit --properties-file conf/spark/local.conf jobs/maintain.py --config conf/X.yaml."""

from pathlib import Path

from recsys_batch.cli import job_parser, read_config, run_job
from recsys_batch.report.summary import RunSummary, reporting
from recsys_batch.spark.lake.tables import Lake
from recsys_batch.spark.session import get_session
from recsys_batch.training.registry.find import find_encoder
from recsys_batch.upkeep.maintain import maintain


def main() -> None:
    """Parse, build, run, close."""
    parser = job_parser(
        "Remove what no retained night needs, and merge small files; may run beside nights.", needs_ds=False
    )
    parser.add_argument("--dry-run", action="store_true", help="say what would be done; change nothing")
    parser.add_argument("--status-file", default="", help="write what was done here as JSON")
    args = parser.parse_args()
    with reporting(RunSummary(f"maintain {Path(args.config).stem}", ""), args.status_file) as summary:
        config = read_config(args)
        summary.name = f"maintain {config.name}"
        _, fingerprint = find_encoder(config)
        spark = get_session(f"recsys-batch maintain {config.name}")
        try:
            maintain(Lake.at(spark, config.lake.root), config, fingerprint, summary, args.dry_run)
        finally:
            spark.stop()


if __name__ == "__main__":
    run_job(main)
