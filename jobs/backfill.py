"""The night for past dates: spark-submit ... jobs/backfill.py --config conf/X.yaml --start DATE --end DATE."""

from functools import partial
from pathlib import Path

from recsys_batch.cli import job_parser, read_config, run_job
from recsys_batch.contracts.identity import parse_ds
from recsys_batch.pipeline import run_night
from recsys_batch.report.progress import open_console
from recsys_batch.report.summary import RunSummary, reporting
from recsys_batch.spark.session import get_session
from recsys_batch.upkeep.backfill import Span, backfill


def main() -> None:
    """Parse, build, run, close."""
    parser = job_parser("Run the night for every date that is not published, oldest first.", needs_ds=False)
    parser.add_argument("--start", required=True, metavar="DATE", help="first date, YYYY-MM-DD")
    parser.add_argument("--end", required=True, metavar="DATE", help="last date, YYYY-MM-DD")
    parser.add_argument("--redo-stale", action="store_true", help="run dates again that late events have made stale")
    parser.add_argument("--dry-run", action="store_true", help="list the dates and the reasons; write nothing")
    parser.add_argument("--status-file", default="", help="write what was done here as JSON")
    args = parser.parse_args()
    name = f"{args.start} to {args.end}"
    with reporting(RunSummary(f"backfill {Path(args.config).stem}", name), args.status_file) as summary:
        config = read_config(args)
        dates = (parse_ds(args.start, "--start"), parse_ds(args.end, "--end"))
        summary.name = f"backfill {config.name}"
        spark = get_session(f"recsys-batch backfill {config.name} {name}")
        try:
            night = partial(run_night, spark, config)
            backfill(spark, config, Span(*dates, args.redo_stale, args.dry_run), night, summary, open_console())
        finally:
            spark.stop()


if __name__ == "__main__":
    run_job(main)
