"""The process that an executor's Python workers are forked from: pyspark's own, with what all need imported before.

Importing torch takes more than a second and some hundred megabytes, pandas (which pyspark wants wherever Arrow batches
pass) a third of one. Workers forked from here have them at once and share their pages; each otherwise imports them for
itself, again whenever Spark has ended it for being idle. No device is touched before the fork: CUDA does not survive
one. `spark.python.daemon.module` of `conf/spark` names this module; without it everything works as well, later.
"""

import gc

import pandas  # noqa: F401
import torch  # noqa: F401
from pyspark.daemon import manager

import recsys_batch.workers.encode  # noqa: F401

if __name__ == "__main__":
    # pyspark collects garbage after each task: half a million imported objects need no look, and stay shared pages.
    gc.freeze()
    manager()
