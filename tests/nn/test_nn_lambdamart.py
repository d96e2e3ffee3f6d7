"""The trees of the ranker: they learn an order, the same one every time, and say what they miss."""

from dataclasses import replace
from pathlib import Path

import lightgbm
import numpy as np
import pytest

from recsys_batch.contracts.errors import ConfigError
from recsys_batch.nn.scoring.lambdamart import Lambdamart, Shape, read_model

NAMES = ("good", "noise", "unknown")
SHAPE = Shape(trees=20, leaves=7, learning_rate=0.2)


def fit(seed: int, num_threads: int = 1, parts: int = 1) -> Lambdamart:
    rows_NF, labels_N, sizes_P = draw_lists(seed)
    return Lambdamart.fit(NAMES, np.array_split(rows_NF, parts), labels_N, sizes_P, SHAPE, num_threads)


def draw_lists(seed: int, number: int = 120, size: int = 20):
    """Lists in which the candidate with the largest `good` is the wanted one."""
    rng = np.random.default_rng(seed)
    rows_NF = rng.random((number * size, 3)).astype(np.float32)
    rows_NF[:, 2] = np.nan
    best_P = rows_NF[:, 0].reshape(number, size).argmax(axis=1)
    labels_N = np.zeros(number * size, dtype=np.int64)
    labels_N[np.arange(number) * size + best_P] = 1
    return rows_NF, labels_N, np.full(number, size)


@pytest.fixture(scope="module")
def model() -> Lambdamart:
    return fit(0)


def columns(rows_NF: np.ndarray) -> dict[str, np.ndarray]:
    return {name: rows_NF[:, place] for place, name in enumerate(NAMES)}


def test_it_finds_the_wanted_candidate_of_lists_that_it_has_not_seen(model: Lambdamart) -> None:
    rows_NF, labels_N, sizes_P = draw_lists(1)
    scores_PC = model.score(columns(rows_NF)).reshape(len(sizes_P), -1)
    best_P = labels_N.reshape(len(sizes_P), -1).argmax(axis=1)
    top_PK = np.argsort(-scores_PC, axis=1)[:, :3]
    assert (top_PK == best_P[:, None]).any(axis=1).mean() > 0.95  # by chance: 0.15
    assert next(iter(model.gains())) == "good"
    assert sum(model.gains().values()) == pytest.approx(1.0)


def test_the_same_lists_give_the_same_model_and_the_file_gives_the_same_scores(
    model: Lambdamart, tmp_path: Path
) -> None:
    again = fit(0, num_threads=2, parts=3)
    rows_NF, _, _ = draw_lists(2, number=10)
    again.save(tmp_path / "user.txt")
    read = read_model(str(tmp_path / "user.txt"))
    assert read.names == NAMES
    for other in (again, read):
        np.testing.assert_array_equal(other.score(columns(rows_NF)), model.score(columns(rows_NF)))


def test_several_draws_score_by_their_mean_and_stand_in_one_file(model: Lambdamart, tmp_path: Path) -> None:
    rows_NF, labels_N, sizes_P = draw_lists(0)
    three = Lambdamart.fit(NAMES, [rows_NF], labels_N, sizes_P, replace(SHAPE, draws=3), 1)
    three.save(tmp_path / "user.txt")
    parts = ["tree\nversion" + part for part in (tmp_path / "user.txt").read_text().split("tree\nversion")[1:]]
    alone = [lightgbm.Booster(model_str=part).predict(rows_NF) for part in parts]
    assert len(alone) == 3
    np.testing.assert_allclose(alone[0], model.score(columns(rows_NF)), rtol=1e-6)
    assert np.abs(alone[1] - alone[2]).max() > 0.01
    mean_N = (alone[0] + alone[1] + alone[2]) / 3
    for each in (three, read_model(str(tmp_path / "user.txt"))):
        np.testing.assert_allclose(each.score(columns(rows_NF)), mean_N, rtol=1e-5, atol=1e-6)
        assert sum(each.gains().values()) == pytest.approx(1.0)


def test_a_score_hangs_on_its_own_row_alone(model: Lambdamart) -> None:
    rows_NF, _, _ = draw_lists(3, number=5)
    whole = model.score(columns(rows_NF))
    np.testing.assert_array_equal(model.score(columns(rows_NF[40:60])), whole[40:60])
    assert model.score(columns(rows_NF[:0])).shape == (0,)


def test_a_feature_that_is_not_made_any_more_is_named(model: Lambdamart) -> None:
    rows_NF, _, _ = draw_lists(4, number=1)
    with pytest.raises(ConfigError, match=r"'noise'.*train it again"):
        model.score({"good": rows_NF[:, 0], "unknown": rows_NF[:, 2]})


def test_a_file_that_is_no_model_is_named(tmp_path: Path) -> None:
    (tmp_path / "user.txt").write_text("no trees")
    with pytest.raises(ConfigError, match=r"user\.txt: not a model"):
        read_model(str(tmp_path / "user.txt"))
