"""Exit codes are a promise to schedulers; every error class keeps its own."""

from collections.abc import Iterator

import recsys_batch.contracts.errors as errors

PROMISED = {
    "RecsysBatchError": 30,
    "ConfigError": 2,
    "SourceColumnsError": 2,
    "ModelNotFoundError": 2,
    "AlreadyPublishedError": 2,
    "NoEarlierReleaseError": 2,
    "InputNotReadyError": 10,
    "SourceNotFoundError": 10,
    "NotPublishedError": 10,
    "EmptyDayError": 10,
    "IncompleteInputError": 10,
    "CheckFailedError": 20,
    "DuplicateItemsError": 20,
    "ExpectationFailedError": 20,
    "GateFailedError": 20,
    "ModelFilesError": 30,
    "InputLogChangedError": 30,
    "StagedRowsMissingError": 30,
    "AnotherPublisherWonError": 40,
}


def test_every_error_exits_with_the_promised_code() -> None:
    declared = {
        kind.__name__: kind.exit_code for kind in family(errors.RecsysBatchError) if kind.__module__ == errors.__name__
    }
    # An error that is not in the table above has made no promise yet: decide its code here.
    assert declared == PROMISED


def test_the_codes_have_their_documented_values() -> None:
    codes = {name: value for name, value in vars(errors).items() if name.startswith("EXIT_")}
    assert codes == {
        "EXIT_DONE": 0,
        "EXIT_USAGE": 2,
        "EXIT_INPUT_NOT_READY": 10,
        "EXIT_GATE_FAILED": 20,
        "EXIT_INFRASTRUCTURE": 30,
        "EXIT_OTHER_PUBLISHER_WON": 40,
    }


def family(kind: type[errors.RecsysBatchError]) -> Iterator[type[errors.RecsysBatchError]]:
    yield kind
    for child in kind.__subclasses__():
        yield from family(child)
