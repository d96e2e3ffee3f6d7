"""Two releases or candidate runs side by side: spark-submit ... jobs/compare.py --config ... --ds DATE --baseline X."""

import json

from recsys_batch.cli import job_parser, read_config, run_job
from recsys_batch.contracts.columns import Tables
from recsys_batch.contracts.identity import parse_ds
from recsys_batch.contracts.list_changes import as_values
from recsys_batch.measure.evaluate import Asked, print_outcomes
from recsys_batch.report.changes import print_changes, print_key_lists, print_sides
from recsys_batch.report.progress import open_console
from recsys_batch.spark.evaluation.changes.compare import common_tables, compare_sides, settings_for
from recsys_batch.spark.evaluation.changes.sides import find_sides
from recsys_batch.spark.lake.tables import Lake
from recsys_batch.spark.publish.shown import known_user
from recsys_batch.spark.session import get_session, with_settings


def main() -> None:
    """Parse, build, run, close."""
    parser = job_parser("What moved between two releases or candidate runs, for whom, and why.")
    what = "the id of a release, or of a run that staged its lists (nightly --no-publish)"
    parser.add_argument("--baseline", default="", help=f"the older side: a date (its release), {what}; else --ds")
    parser.add_argument("--candidate", default="", help=f"the newer side: {what}, of --ds; else the release of --ds")
    parser.add_argument("--keys", type=int, default=3, help="changed lists of each table to print, by config.seed")
    parser.add_argument("--user", action="append", default=[], help="print the lists of this user instead")
    parser.add_argument("--outcomes", action="store_true", help="which user lists fared better against what came after")
    parser.add_argument("--days", type=int, default=7, help="with --outcomes: days after the later date that count")
    parser.add_argument("--event-types", default="purchase", help="with --outcomes: what counts, such as cart,purchase")
    args = parser.parse_args()
    asked = Asked(args.days, tuple(args.event_types.split(",")))
    config, ds, console = read_config(args), parse_ds(args.ds), open_console()
    spark = get_session(f"recsys-batch compare {config.name} {args.ds}")
    try:
        sides = find_sides(Lake.at(spark, config.lake.root), ds, args.baseline, args.candidate)
        print_sides(console, *(side.facts for side in sides))
        users = [known_user(user, config.prepare) for user in args.user]
        found = {}
        for table in common_tables(*sides):
            with (
                with_settings(spark, settings_for(*sides)),
                compare_sides(*sides, table, masks_bought=not config.rerank.allow_repeats) as compared,
            ):
                found[table] = compared.measure()
                print_changes(console, found[table])
                named = users if table == Tables.USER_RECOMMENDATIONS else []
                keys = named if users else compared.sample(args.keys, config.seed)
                for lists in compared.show(keys):
                    print_key_lists(console, table, lists)
        outcomes = print_outcomes(config, sides, asked, console) if args.outcomes else {}
    finally:
        spark.stop()
    facts = dict(zip(("baseline", "candidate"), (as_values(side.facts) for side in sides), strict=True))
    tables = {table: as_values(changes) for table, changes in found.items()}
    print(json.dumps({"config": config.name, "ds": args.ds, **facts, "tables": tables, **outcomes}, ensure_ascii=False))


if __name__ == "__main__":
    run_job(main)
