"""Offline metrics of published lists: spark-submit ... jobs/evaluate.py --config conf/X.yaml --ds DATE."""

import json

from recsys_batch.cli import job_parser, read_config, run_job
from recsys_batch.contracts.identity import parse_ds
from recsys_batch.measure.evaluate import Asked, evaluate
from recsys_batch.report.progress import open_console
from recsys_batch.spark.session import get_session


def main() -> None:
    """Parse, build, run, close."""
    parser = job_parser(
        "How good the lists are. Without --hold-out: the published lists of a date, against what came after or the "
        "targets of the config. With it: the configured night on what was known on the date, beside tuned baselines, "
        "against the days after."
    )
    parser.add_argument("--days", type=int, default=7, help="days after the date whose events count")
    parser.add_argument("--event-types", default="purchase", help="what counts, such as cart,purchase")
    parser.add_argument("--hold-out", action="store_true", help="run the night of the date, and baselines beside it")
    parser.add_argument("--cuts", type=int, default=1, help="with --hold-out: so many dates, --days apart, up to --ds")
    parser.add_argument("--users", type=int, default=20_000, help="with --hold-out: compare no more users, by chance")
    parser.add_argument("--export", default="", help="with --hold-out: write data and lists as Parquet below here")
    args = parser.parse_args()
    asked = Asked(args.days, tuple(args.event_types.split(",")), args.hold_out, args.cuts, args.users, args.export)
    config, ds = read_config(args), parse_ds(args.ds)
    spark = get_session(f"recsys-batch evaluate {config.name} {args.ds}")
    try:
        found = evaluate(spark, config, ds, asked, open_console())
    finally:
        spark.stop()
    print(json.dumps({"config": config.name, "ds": args.ds, **found}))


if __name__ == "__main__":
    run_job(main)
