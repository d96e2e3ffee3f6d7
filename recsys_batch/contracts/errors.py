"""Errors named by the fact, each carrying the exit code that a scheduler acts on.

Exit codes are a promise to users: 0 done or already published; 2 usage or config; 10 input not ready, retry later;
20 gate failed, do not retry; 30 infrastructure; 40 another publisher won.
"""

EXIT_DONE = 0
EXIT_USAGE = 2
EXIT_INPUT_NOT_READY = 10
EXIT_GATE_FAILED = 20
EXIT_INFRASTRUCTURE = 30
EXIT_OTHER_PUBLISHER_WON = 40


class RecsysBatchError(Exception):
    """Base of every error that the project raises on purpose; the message says what to do."""

    exit_code = EXIT_INFRASTRUCTURE


class ConfigError(RecsysBatchError):
    """A config file, a `--set` override or a command line option is wrong."""

    exit_code = EXIT_USAGE


class SourceColumnsError(ConfigError):
    """A source's `select` lacks a required column, names an unknown one, or an expression cannot be resolved."""


class ModelNotFoundError(ConfigError):
    """The configured model name resolves to no directory, installed package or hub snapshot."""


class AlreadyPublishedError(ConfigError):
    """The `ds` was published under another config and `--force` was not given."""


class NoEarlierReleaseError(ConfigError):
    """A rollback names a release that the date does not have, or there is none before the one that stands."""


class InputNotReadyError(RecsysBatchError):
    """An input is missing or empty; a later retry may find it."""

    exit_code = EXIT_INPUT_NOT_READY


class NotPublishedError(InputNotReadyError):
    """A reader asks for a night, or a table of one, that no release has."""


class SourceNotFoundError(InputNotReadyError):
    """The path of a source does not exist (yet)."""


class EmptyDayError(InputNotReadyError):
    """The business date has fewer events than the config demands."""


class IncompleteInputError(InputNotReadyError):
    """An input broke only expectations that more rows would mend: the day has not arrived in full."""


class CheckFailedError(RecsysBatchError):
    """A data check or a publication gate failed; retrying the same input cannot help."""

    exit_code = EXIT_GATE_FAILED


class DuplicateItemsError(CheckFailedError):
    """The catalog gives one item id several different rows, and the config names no rule to choose by."""


class ExpectationFailedError(CheckFailedError):
    """An input broke a declared expectation that waiting cannot mend; the previous release is untouched."""


class GateFailedError(CheckFailedError):
    """The staged rows broke at least one gate; the previous release is untouched."""


class ModelFilesError(RecsysBatchError):
    """A model directory is incomplete, truncated, or holds weights in an unsafe format."""


class InputLogChangedError(RecsysBatchError):
    """Entries of the input log vanished while a night read them."""


class StagedRowsMissingError(RecsysBatchError):
    """A run's staged slice does not hold the rows that its release counts."""


class AnotherPublisherWonError(RecsysBatchError):
    """Another run published the same `ds` between this run's start and its publication."""

    exit_code = EXIT_OTHER_PUBLISHER_WON
