"""The night: spark-submit --properties-file conf/spark/local.conf jobs/nightly.py --config conf/X.yaml --ds DATE."""

from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from pathlib import Path

from recsys_batch.cli import job_parser, read_config, run_job
from recsys_batch.contracts.identity import parse_ds
from recsys_batch.contracts.run_facts import STAGE_NAMES, NightOptions
from recsys_batch.report.night_lines import night_lines
from recsys_batch.report.summary import RunSummary, reporting
from recsys_batch.spark.session import get_session


def main() -> None:
    """Parse, build, run, close."""
    parser = job_parser("Prepare, encode, retrieve, rank and publish one business date.")
    parser.add_argument(
        "--stage", choices=list(STAGE_NAMES), default="", help="run one stage, on what earlier ones left"
    )
    parser.add_argument("--resume", action="store_true", help="run only stages that something changed for")
    parser.add_argument("--force", action="store_true", help="compute and publish again")
    parser.add_argument("--dry-run", action="store_true", help="check config, inputs and model; write nothing")
    parser.add_argument("--no-publish", action="store_true", help="stop after the gates")
    parser.add_argument("--status-file", default="", help="write the run's status here as JSON")
    args = parser.parse_args()
    options = NightOptions(args.stage, args.resume, args.force, args.dry_run, not args.no_publish)
    # An error in the config is this run's state too: yesterday's must not stand in the status file.
    with reporting(RunSummary(Path(args.config).stem, args.ds), args.status_file, night_lines) as summary:
        config, ds = read_config(args), parse_ds(args.ds)
        summary.name = config.name
        # What the night imports (torch above all) takes as long as Spark takes to start.
        with ThreadPoolExecutor(1) as pool:
            pipeline = pool.submit(import_module, "recsys_batch.pipeline")
            spark = get_session(f"recsys-batch nightly {config.name} {args.ds}")
        try:
            pipeline.result().run_night(spark, config, ds, options, summary)
        finally:
            spark.stop()


if __name__ == "__main__":
    run_job(main)
