"""Choose what to label: spark-submit ... jobs/label.py --config conf/X.yaml --ds DATE; writes `label_requests`.

With --out FILE it needs no Spark, and is run by python.
"""

from pathlib import Path

from pyarrow import feather

from recsys_batch.cli import job_parser, read_config, run_job
from recsys_batch.contracts.identity import parse_ds
from recsys_batch.contracts.label_requests import LABEL_REQUESTS
from recsys_batch.learn.label import choose_config, write_requests
from recsys_batch.spark.lake.tables import Lake
from recsys_batch.spark.session import get_session


def main() -> None:
    """Parse, build, run, close."""
    parser = job_parser("Choose the items and queries that people should label, by the champion's uncertainty.")
    parser.add_argument("--out", type=Path, help="write this Arrow file instead of the table in the lake")
    args = parser.parse_args()
    config, ds = read_config(args), parse_ds(args.ds)
    requests = choose_config(config, ds)
    if args.out is not None:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        feather.write_feather(requests, args.out)
    else:
        spark = get_session(f"recsys-batch label {config.name} {args.ds}")
        try:
            write_requests(Lake.at(spark, config.lake.root), requests, ds)
        finally:
            spark.stop()
    place = args.out or f"{config.lake.root}/{LABEL_REQUESTS}"
    kinds = requests["kind"].to_pylist()
    counts = ", ".join(f"{kinds.count(kind):,} of kind {kind}" for kind in dict.fromkeys(kinds)) or "nothing"
    print(f"{place}: {counts} to label")


if __name__ == "__main__":
    run_job(main)
