"""What made a Spark job fail, in our own words: the file that broke off, the error that a worker raised."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

from py4j.protocol import Py4JJavaError
from pyspark.errors import PySparkException

from recsys_batch.contracts import errors
from recsys_batch.contracts.errors import InputNotReadyError, RecsysBatchError

# Python's own last line of a traceback, up to Java's frames.
_RAISED = re.compile(rf"^{re.escape(errors.__name__)}\.(\w+): (.*?)(?=\n\s*at |\n\s*\n|\Z)", re.MULTILINE | re.DOTALL)


@contextmanager
def naming_causes() -> Iterator[None]:
    """Turn the error of a Spark job into the one that a worker raised, or into one that names the file that broke off.

    Raises InputNotReadyError for a file that cannot be read to its end.
    """
    try:
        yield
    except (PySparkException, Py4JJavaError) as error:
        known = _raised_by_worker(str(error)) or _broken_file(str(error))
        if known is None:
            raise
        raise known from error


def root_cause(error: Exception) -> str:
    """Return what an error says in a line: of one that Java raised the innermost cause, by class and message."""
    if isinstance(error, Py4JJavaError):
        cause = error.java_exception
        while cause.getCause() is not None:
            cause = cause.getCause()
        said = str(cause.getMessage() or "").strip()
        return f"{cause.getClass().getSimpleName()}: {said.splitlines()[0] if said else 'no message'}"
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)


def _raised_by_worker(text: str) -> RecsysBatchError | None:
    found = _RAISED.search(text)
    kind = getattr(errors, found[1], None) if found else None
    if found is None or not (isinstance(kind, type) and issubclass(kind, RecsysBatchError)):
        return None
    return kind(found[2].strip())


def _broken_file(text: str) -> InputNotReadyError | None:
    found = re.search(r"FAILED_READ_FILE[^\n]*?file:? +(\S+?)\.(?:\s|$)", text)
    if found is None:
        return None
    causes = re.findall(r"Caused by: (?:[\w$]+\.)*(\w+(?:Exception|Error)): ([^\n]*)", text)
    cause = f" ({causes[-1][0]}: {causes[-1][1]})" if causes else ""
    return InputNotReadyError(
        f"{found[1]}: cannot be read to its end{cause}; it is broken or still being written: retry when it has "
        "arrived in full, or leave it out"
    )
