"""Writes a bilingual demo shop of any size: spark-submit jobs/make_demo_shop.py --out DIR [--users U ...]."""

import argparse
import os
import sys
from datetime import date

from pyspark.sql import SparkSession
from rich.console import Console
from rich.table import Table

from recsys_batch.contracts.errors import EXIT_DONE, RecsysBatchError
from recsys_batch.demo.shop import MANIFEST, ShopManifest, write_shop
from recsys_batch.demo.spec import ShopSpec


def parse_arguments(arguments: list[str]) -> argparse.Namespace:
    """Parse the command line; wrong usage exits 2."""
    parser = argparse.ArgumentParser(prog="make_demo_shop", description=__doc__)
    parser.add_argument("--out", required=True, help="folder to write, on any file system that Spark knows")
    parser.add_argument("--users", type=int, default=ShopSpec.num_users, help="default: %(default)s")
    parser.add_argument("--items", type=int, default=ShopSpec.num_items, help="default: %(default)s")
    parser.add_argument("--days", type=int, default=ShopSpec.num_days, help="default: %(default)s")
    parser.add_argument("--end", type=date.fromisoformat, default=ShopSpec.end, help="last day, default: %(default)s")
    parser.add_argument("--seed", type=int, default=ShopSpec.seed, help="default: %(default)s")
    parser.add_argument("--overwrite", action="store_true", help="replace the shop that is already in the folder")
    return parser.parse_args(arguments)


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


def main(arguments: list[str]) -> int:
    """Parse, build, run, close."""
    options = parse_arguments(arguments)
    console = Console(stderr=True)
    try:
        spec = ShopSpec(options.users, options.items, options.days, options.end, options.seed)
        os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
        spark = SparkSession.builder.appName("make_demo_shop").getOrCreate()
        try:
            manifest = write_shop(spark, spec, options.out, overwrite=options.overwrite, report=console.print)
        finally:
            spark.stop()
    except RecsysBatchError as error:
        console.print(f"{type(error).__name__}: {error}", style="red", markup=False)
        return error.exit_code
    Console().print(summarize(manifest, options.out.rstrip("/")))
    return EXIT_DONE


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
