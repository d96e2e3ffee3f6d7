import numpy as np
import pytest

from recsys_batch.rules.calibration import COLDEST, apply_temperature, fit_temperature


def test_a_model_as_sure_as_it_is_right_keeps_its_temperature() -> None:
    # 80% sure, right 8 times of 10.
    probabilities = np.tile([0.8, 0.2], (10, 1))
    labels = np.array([0] * 8 + [1] * 2)
    assert fit_temperature(probabilities, labels) == pytest.approx(1.0, abs=1e-4)


@pytest.mark.parametrize(("said", "right_of_10"), [(0.99, 8), (0.6, 9), (0.9, 6)])
def test_the_temperature_makes_confidence_what_is_right(said: float, right_of_10: int) -> None:
    # With one probability for all the likeliest temperature solves sigmoid(logit(said) / T) = share that is right.
    probabilities = np.tile([said, 1 - said], (10, 1))
    labels = np.array([0] * right_of_10 + [1] * (10 - right_of_10))
    share = right_of_10 / 10
    expected = np.log(said / (1 - said)) / np.log(share / (1 - share))
    temperature = fit_temperature(probabilities, labels)
    assert temperature == pytest.approx(expected, rel=1e-3)
    assert apply_temperature(probabilities, temperature)[0, 0] == pytest.approx(share, abs=1e-4)


def test_many_classes_against_a_plain_search() -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(200, 5)) * 3
    labels = np.array([rng.choice(5, p=np.exp(row / 2.5) / np.exp(row / 2.5).sum()) for row in logits])
    probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)

    def loss(temperature: float) -> float:
        scaled = np.exp(logits / temperature)
        return -np.log(scaled[np.arange(200), labels] / scaled.sum(1)).mean()

    grid = np.arange(0.5, 6, 0.001)
    best = grid[np.argmin([loss(temperature) for temperature in grid])]
    assert fit_temperature(probabilities, labels) == pytest.approx(best, abs=2e-3)


def test_the_order_of_classes_stays_and_rows_sum_to_one() -> None:
    probabilities = np.array([[0.5, 0.3, 0.2, 0.0], [1.0, 0.0, 0.0, 0.0]], dtype=np.float32)
    made = apply_temperature(probabilities, 2.0)
    assert made.sum(1) == pytest.approx([1.0, 1.0])
    assert made[0, :3] == pytest.approx(np.sqrt([0.5, 0.3, 0.2]) / np.sqrt([0.5, 0.3, 0.2]).sum(), rel=1e-6)
    assert apply_temperature(probabilities, 1.0) == pytest.approx(probabilities, abs=1e-7)
    assert apply_temperature(np.zeros((0, 3)), 2.0).shape == (0, 3)


def test_edges() -> None:
    assert fit_temperature(np.zeros((0, 2)), np.zeros(0, dtype=np.int64)) == 1.0
    assert fit_temperature(np.tile([0.7, 0.3], (5, 1)), np.zeros(5, dtype=np.int64)) == pytest.approx(COLDEST, rel=1e-2)
    with pytest.raises(ValueError, match="2 rows of probabilities and 1 labels"):
        fit_temperature(np.full((2, 2), 0.5), np.array([0]))
    with pytest.raises(ValueError, match="labels 0 to 2 of 2 classes"):
        fit_temperature(np.full((2, 2), 0.5), np.array([0, 2]))
