"""Is everything set up: spark-submit --properties-file conf/spark/local.conf jobs/doctor.py --config conf/X.yaml."""

from recsys_batch.cli import job_parser, read_config, run_job
from recsys_batch.report.doctor import print_findings
from recsys_batch.report.progress import open_console
from recsys_batch.spark.session import open_session
from recsys_batch.training.registry.find import find_encoder
from recsys_batch.upkeep.doctor.diagnose import diagnose, raise_faults


def main() -> None:
    """Parse, look, print."""
    parser = job_parser(
        "Check Java, Spark, Delta Lake, workers, GPUs, memory and model files; leave nothing behind.", needs_ds=False
    )
    config = read_config(parser.parse_args())
    findings = diagnose(config, find_encoder, lambda: open_session("recsys-batch doctor"))
    print_findings(open_console(), findings)
    raise_faults(findings)


if __name__ == "__main__":
    run_job(main)
