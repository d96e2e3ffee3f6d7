"""Writes a bilingual demo shop of any size: spark-submit jobs/make_demo_shop.py --out DIR [--users U ...]."""

import argparse
from datetime import date

from rich.table import Table

from recsys_batch.cli import run_job
from recsys_batch.demo.shop import MANIFEST, ShopManifest, write_shop
from recsys_batch.demo.spec import ShopSpec
from recsys_batch.report.progress import open_console
from recsys_batch.spark.session import get_session


def parse_arguments() -> argparse.Namespace:
    """Parse the command line; wrong usage exits 2."""
    parser = argparse.ArgumentParser(prog="make_demo_shop", description=__doc__)
    parser.add_argument("--out", required=True, help="folder to write, on any file system that Spark knows")
    parser.add_argument("--users", type=int, default=ShopSpec.num_users, help="default: %(default)s")
    parser.add_argument("--items", type=int, default=ShopSpec.num_items, help="default: %(default)s")
    parser.add_argument("--days", type=int, default=ShopSpec.num_days, help="default: %(default)s")
    parser.add_argument("--end", type=date.fromisoformat, default=ShopSpec.end, help="last day, default: %(default)s")
    parser.add_argument("--seed", type=int, default=ShopSpec.seed, help="default: %(default)s")
    parser.add_argument("--overwrite", action="store_true", help="replace the shop that is already in the folder")
    return parser.parse_args()


def summarize(manifest: ShopManifest, out: str) -> Table:
    """Lay out what was written and where."""
    table = Table(title=f"Demo shop, {manifest.start} to {manifest.end}, seed {manifest.seed}")
    table.add_column("table")
    table.add_column("rows", justify="right")
    table.add_column("where", overflow="fold")
    for name, rows in manifest.rows.items():
        table.add_row(name, f"{rows:,}", f"{out}/{name}")
    table.add_row("manifest", "", f"{out}/{MANIFEST}")
    return table


def main() -> None:
    """Parse, build, run, close."""
    options = parse_arguments()
    spec = ShopSpec(options.users, options.items, options.days, options.end, options.seed)
    console = open_console()
    spark = get_session("recsys-batch make_demo_shop")
    try:
        manifest = write_shop(spark, spec, options.out, overwrite=options.overwrite, report=console.print)
    finally:
        spark.stop()
    console.print(summarize(manifest, options.out.rstrip("/")))


if __name__ == "__main__":
    run_job(main)
