"""A smaller encoder: python jobs/compress.py --config conf/X.yaml --ds DATE; registers a version, promotes nothing."""

from recsys_batch.cli import job_parser, read_config, run_job
from recsys_batch.contracts.identity import parse_ds
from recsys_batch.report.model_version import print_model_version
from recsys_batch.report.progress import open_console
from recsys_batch.training.compress.shop import compress_config


def main() -> None:
    """Parse, build, run, close."""
    parser = job_parser("Distill, prune and measure the champion encoder, and register the result as a new version.")
    parser.add_argument("--device", default="cpu", help="cpu, cuda or cuda:N")
    args = parser.parse_args()
    config, ds = read_config(args), parse_ds(args.ds)
    print_model_version(open_console(), compress_config(config, ds, args.device))


if __name__ == "__main__":
    run_job(main)
