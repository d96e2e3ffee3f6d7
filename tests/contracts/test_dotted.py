import pytest
from pydantic import Field

from recsys_batch.contracts.config.block import Block
from recsys_batch.contracts.config.dotted import read_path, with_values
from recsys_batch.contracts.config.training import Loop, Optimizer
from recsys_batch.contracts.errors import ConfigError


class Outer(Block):
    loops: tuple[Loop, ...] = (Loop(), Loop(seed=4))
    weights: dict[str, float] = Field(default_factory=lambda: {"a": 1.0})
    maybe: Optimizer | None = None


def test_values_are_found_in_blocks_lists_and_mappings() -> None:
    assert read_path(Outer(), "loops.1.seed") == 4
    assert read_path(Outer(), "loops.0.optimizer.learning_rate") == 2e-5
    assert read_path(Outer(), "weights.a") == 1.0


def test_values_replace_others_and_nothing_else() -> None:
    before = Outer()
    after = with_values(before, {"loops.1.optimizer.learning_rate": 1e-3, "weights.a": 2.0, "loops.1.r_drop": 1.0})
    changed = Loop(seed=4, r_drop=1.0, optimizer=Optimizer(learning_rate=1e-3))
    assert after == Outer(loops=(Loop(), changed), weights={"a": 2.0})
    assert before == Outer()


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("optimizer.learningrate", "optimizer.learningrate: no such setting; did you mean 'learning_rate'?"),
        ("seeds", "seeds: no such setting; did you mean 'seed'?"),
        ("seed.more", "seed.more: no such setting; known here: nothing"),
        ("task_weights.clicks", "task_weights.clicks: no such setting; known here: nothing"),
    ],
)
def test_an_unknown_path_is_an_error_that_names_the_nearest(path: str, message: str) -> None:
    with pytest.raises(ConfigError) as raised:
        with_values(Loop(), {path: 1})
    assert str(raised.value) == message


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"epochs": 0}, "epochs: 0 is refused: Input should be greater than or equal to 1"),
        ({"epochs": 1.5}, "epochs: 1.5 is refused"),
        ({"precision": "int8"}, "precision: 'int8' is refused"),
        ({"optimizer.learning_rate": -1.0}, "optimizer.learning_rate: -1.0 is refused"),
        ({"patience": 2}, "patience: 2 is refused: patience needs a metric"),
    ],
)
def test_values_are_validated(values: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError) as raised:
        with_values(Loop(), values)
    assert str(raised.value).startswith(message)
