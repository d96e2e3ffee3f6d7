"""The process that an executor's Python workers are forked from: pyspark's own, with torch imported before.

Importing torch takes more than a second and some hundred megabytes. Workers forked from here have it at once and share
its pages; each otherwise imports it for itself, again whenever Spark has ended it for being idle. No device is touched
before the fork: CUDA does not survive one. `spark.python.daemon.module` of `conf/spark` names this module; without it
everything works as well, later.
"""

import torch  # noqa: F401
from pyspark.daemon import manager

if __name__ == "__main__":
    manager()
