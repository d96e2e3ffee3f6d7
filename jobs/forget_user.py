"""Forget users: spark-submit ... jobs/forget_user.py --config conf/X.yaml --user ID (or --users-file FILE)."""

from pathlib import Path

from recsys_batch.cli import job_parser, read_config, run_job
from recsys_batch.report.summary import RunSummary, reporting
from recsys_batch.spark.lake.tables import Lake
from recsys_batch.spark.session import get_session
from recsys_batch.upkeep.forget_user import forget_users, read_ids


def main() -> None:
    """Parse, build, run, close."""
    parser = job_parser("Delete users from every table and keep them out of later nights.", needs_ds=False)
    parser.add_argument("--user", action="append", default=[], metavar="ID", help="id as the shop writes it")
    parser.add_argument("--users-file", default="", metavar="FILE", help="file with one id a line")
    parser.add_argument("--dry-run", action="store_true", help="count their rows; change nothing")
    parser.add_argument("--status-file", default="", help="write what was done here as JSON")
    args = parser.parse_args()
    with reporting(RunSummary(f"forget_user {Path(args.config).stem}", ""), args.status_file) as summary:
        config, ids = read_config(args), read_ids(args.user, args.users_file)
        summary.name = f"forget_user {config.name}"
        spark = get_session(f"recsys-batch forget_user {config.name}")
        try:
            forget_users(Lake.at(spark, config.lake.root), config, ids, summary, args.dry_run)
        finally:
            spark.stop()


if __name__ == "__main__":
    run_job(main)
