"""What every job shares: options, logging, exit codes. A job parses, builds, runs and closes."""

import argparse
import logging
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path

from recsys_batch.contracts.config.load import load_config
from recsys_batch.contracts.config.night import Config
from recsys_batch.contracts.errors import EXIT_DONE, EXIT_INFRASTRUCTURE, RecsysBatchError
from recsys_batch.spark.causes import root_cause

log = logging.getLogger("recsys_batch")
_SECONDS_FOR_LAST_LINES = 0.5
# As shells have it for a program that Ctrl-C ended.
_EXIT_STOPPED = 130


def job_parser(description: str, needs_ds: bool = True) -> argparse.ArgumentParser:
    """Return a parser with the options that every job takes."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--config", required=True, help="config file, such as conf/demo.yaml")
    if needs_ds:
        parser.add_argument("--ds", required=True, help="business date, YYYY-MM-DD")
    parser.add_argument(
        "--set", dest="overrides", action="append", default=[], metavar="KEY=VALUE", help="override a config key: a.b=c"
    )
    return parser


def read_config(args: argparse.Namespace) -> Config:
    """Load the config that the options name."""
    return load_config(Path(args.config), args.overrides)


def run_job(main: Callable[[], None]) -> None:
    """Run a job's main function and exit with the code that a scheduler acts on; the last lines say what happened."""
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", datefmt="%H:%M:%S", stream=sys.stderr
    )
    for noisy in ("py4j", "httpx", "transformers", "pyspark"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    # They print a page of Java frames for every wrong expression, and the error below says it in a line.
    for verbose in ("DataFrameQueryContextLogger", "SQLQueryContextLogger"):
        logging.getLogger(verbose).setLevel(logging.CRITICAL)
    code = EXIT_DONE
    try:
        main()
    except RecsysBatchError as error:
        code = error.exit_code
        _close(type(error).__name__, str(error), code)
    except KeyboardInterrupt:
        code = _EXIT_STOPPED
        # Where it was stopped says nothing.
        log.error("STOPPED by hand with exit code %d: nothing half published; --resume goes on", code)  # noqa: TRY400
    except Exception as error:  # noqa: BLE001 - the outermost handler: whatever it is, the operator gets a code and a line
        traceback.print_exc()
        code = EXIT_INFRASTRUCTURE
        _close(type(error).__name__, root_cause(error), code)
    sys.stdout.flush()
    sys.stderr.flush()
    # spark-submit copies our output in a thread that it does not wait for: the last lines are the ones that matter.
    time.sleep(_SECONDS_FOR_LAST_LINES)
    sys.exit(code)


def _close(name: str, message: str, code: int) -> None:
    log.error("FAILED with exit code %d: %s\n%s", code, name, message)
