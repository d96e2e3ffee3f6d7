"""What a person would be shown: spark-submit ... jobs/show.py --config conf/X.yaml --ds DATE --user ID."""

from recsys_batch.cli import job_parser, read_config, run_job
from recsys_batch.contracts.columns import Tables
from recsys_batch.contracts.identity import parse_ds
from recsys_batch.report.progress import open_console
from recsys_batch.report.terminal import print_history, print_list, print_query
from recsys_batch.rules.texts.clean import normalize_query
from recsys_batch.spark.lake.tables import Lake
from recsys_batch.spark.publish.shown import known_item, known_user, shown_to, some_users
from recsys_batch.spark.session import get_session, local_time, with_settings


def main() -> None:
    """Parse, build, run, close."""
    parser = job_parser("Print published lists with their reasons, and the history behind a user's.")
    parser.add_argument("--user", action="append", default=[], help="user id; may be given several times")
    parser.add_argument("--query", action="append", default=[], help="search query")
    parser.add_argument("--item", action="append", default=[], help="item id: its similar items")
    parser.add_argument("--request", action="append", default=[], help="request id")
    parser.add_argument("--users", type=int, default=0, metavar="N", help="N users with a middling history")
    args = parser.parse_args()
    config, ds = read_config(args), parse_ds(args.ds)
    console = open_console()
    spark = get_session(f"recsys-batch show {config.name} {args.ds}")
    try:
        lake = Lake.at(spark, config.lake.root)
        users = [known_user(key, config.prepare) for key in args.user]
        users += some_users(lake, ds, args.users) if args.users else []
        wanted = [(Tables.USER_RECOMMENDATIONS, key) for key in users]
        wanted += [(Tables.QUERY_RECOMMENDATIONS, normalize_query(key) or key) for key in args.query]
        wanted += [(Tables.SIMILAR_ITEMS, known_item(key, config.prepare)) for key in args.item]
        wanted += [(Tables.REQUEST_RECOMMENDATIONS, key) for key in args.request]
        if not wanted:
            parser.error("name someone: --user, --query, --item, --request or --users N")
        with with_settings(spark, local_time(config.prepare.timezone)):
            for table, key in wanted:
                shown = shown_to(lake, ds, table, key)
                if shown.history:
                    print_history(console, key, shown.history, config.prepare.zone_note)
                if shown.read is not None:
                    print_query(console, shown.read)
                arm = f", arm {shown.arm}" if shown.arm else ""
                print_list(console, f"{table} for {key} on {ds}{arm}", shown.recommendations)
    finally:
        spark.stop()


if __name__ == "__main__":
    run_job(main)
