import logging
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from recsys_batch.contracts.config.training import Adversarial, Loop, Optimizer
from recsys_batch.contracts.errors import ConfigError
from recsys_batch.training.loop.ema import MovingAverage
from recsys_batch.training.loop.optimizers import schedule_factor
from recsys_batch.training.loop.preflight import EmptyTaskError
from recsys_batch.training.loop.run import train
from recsys_batch.training.loop.run_state import copy_weights
from recsys_batch.training.loop.steps import NonFiniteLossError
from tests.training.tiny import LineTask, PairTask, WordTask, deep_line, line, several_settings, several_tasks


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    """Tiny tensors gain nothing from threads, and wait for them where other processes use the cores."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def weights_of(module: nn.Module) -> torch.Tensor:
    return torch.cat([parameter.detach().reshape(-1) for parameter in module.parameters()])


def test_whole_batch_steps_equal_plain_torch(tmp_path: Path) -> None:
    settings = Loop(
        epochs=6,
        batch_size=24,
        optimizer=Optimizer(head_learning_rate=0.1, weight_decay=0.2, clip_norm=0.5, warmup_share=0.5),
    )
    task, reference = LineTask(line()), LineTask(line())
    result = train([task], settings, tmp_path)

    module = reference.module
    optimizer = torch.optim.AdamW(
        [{"params": [module.weight], "weight_decay": 0.2}, {"params": [module.bias], "weight_decay": 0.0}], lr=0.1
    )
    losses = []
    for step in range(6):
        optimizer.zero_grad()
        loss = ((module(reference.x_ND)[:, 0] - reference.y_N) ** 2).mean()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(module.parameters(), 0.5)
        for group in optimizer.param_groups:
            group["lr"] = 0.1 * schedule_factor(step, 6, settings.optimizer)
        optimizer.step()
        losses.append(loss.item())
    assert result.steps == 6
    assert [name for name, _ in result.losses] == ["line"] * 6
    assert [loss for _, loss in result.losses] == pytest.approx(losses, rel=1e-5)
    torch.testing.assert_close(weights_of(task.module), weights_of(module), rtol=1e-5, atol=1e-6)
    assert task.epochs == list(range(6))
    assert not task.module.training


def test_accumulated_batches_equal_one_large_batch(tmp_path: Path) -> None:
    def run(batch_size: int, accumulate: int):
        task = LineTask(deep_line(dropout=0.0), num=22)
        optimizer = Optimizer(head_learning_rate=0.05, accumulate=accumulate)
        settings = Loop(epochs=3, batch_size=batch_size, optimizer=optimizer, learn_task_weights=True)
        result = train([task], settings, tmp_path / f"{batch_size}")
        return result.losses, weights_of(task.module)

    # 22 examples: the last step of an epoch has 6, in uneven batches of 4 and 2.
    (large_losses, large), (small_losses, small) = run(8, 1), run(4, 2)
    assert [loss for _, loss in small_losses] == pytest.approx([loss for _, loss in large_losses], rel=1e-5)
    torch.testing.assert_close(small, large, rtol=1e-4, atol=1e-6)


def test_objective_of_r_drop_and_learned_weights(tmp_path: Path) -> None:
    # One plain step: AdamW's first step moves each weight by the rate against its gradient's sign, so compare the loss.
    task = LineTask(deep_line(dropout=0.5))
    result = train([task], Loop(epochs=1, batch_size=24, r_drop=0.7, learn_task_weights=True), tmp_path)
    reference = LineTask(deep_line(dropout=0.5))
    reference.module.train()
    from recsys_batch.training.loop.sampling import derive_seed

    order = np.random.default_rng(derive_seed(0, "order", "line", 0)).permutation(24)
    torch.manual_seed(derive_seed(0, "forward", 0, 0, 0))
    first, second = (reference.module(reference.x_ND[order])[:, 0] for _ in range(2))
    y_N = reference.y_N[order]
    errors = (((first - y_N) ** 2).mean() + ((second - y_N) ** 2).mean()) / 2
    expected = errors + 0.7 * ((first - second) ** 2).mean()
    assert not torch.equal(first, second)
    assert result.losses[0][1] == pytest.approx(expected.item(), rel=1e-5)


def test_learned_task_weights_settle_where_theory_says(tmp_path: Path) -> None:
    class Fixed(LineTask):
        """A loss that no weight changes: 3 a term."""

        def loss(self, outputs, batch):
            return 0.0 * outputs.sum() + 3.0 * len(outputs)

    from recsys_batch.training.loop.sampling import Sampler
    from recsys_batch.training.loop.steps import Learner

    task = Fixed(line())
    optimizer = Optimizer(head_learning_rate=0.05, clip_norm=0.0, schedule="constant")
    settings = Loop(epochs=300, batch_size=24, learn_task_weights=True, optimizer=optimizer)
    sampler = Sampler({"line": 24}, settings)
    learner = Learner([task], settings, torch.device("cpu"), sampler.num_steps)
    for _ in range(sampler.num_steps):
        learner.learn(sampler.deal())
    # exp(-s) * 3 + s / 2 is least at exp(s) = 6.
    assert learner.weights.named_log_variances()["line"].exp().item() == pytest.approx(6.0, rel=0.01)


def test_best_weights_by_the_metric_stay_and_patience_ends_the_run(tmp_path: Path) -> None:
    class Drifting(LineTask):
        """Measures how far the weights went, so that the start is best and every step is worse."""

        def evaluate(self) -> dict[str, float]:
            return {"distance": float((weights_of(self.module) - start).norm())}

    task = Drifting(line())
    start = weights_of(task.module)
    optimizer = Optimizer(head_learning_rate=0.1)
    settings = Loop(epochs=50, batch_size=24, metric="-line.distance", patience=3, optimizer=optimizer)
    result = train([task], settings, tmp_path)
    assert (result.steps, result.best_step, result.best_metric) == (3, 0, 0.0)
    assert [row.step for row in result.evaluations] == [0, 1, 2, 3]
    assert result.evaluations[3].metrics["line.distance"] > 0
    assert torch.equal(weights_of(task.module), start)

    upwards = Drifting(line())
    again = train([upwards], settings.model_copy(update={"metric": "line.distance"}), tmp_path / "up")
    assert again.steps == 50
    assert again.best_metric == max(row.metrics["line.distance"] for row in again.evaluations)
    assert upwards.evaluate()["distance"] == again.best_metric


def test_the_average_of_the_weights_is_what_remains(tmp_path: Path) -> None:
    class Remembering(LineTask):
        """Averages beside the loop, from the weights that each step begins with."""

        def make_batch(self, indices, rng):
            if self.steps:
                average.update(self.steps)
            self.steps += 1
            return super().make_batch(indices, rng)

    task = Remembering(line())
    task.steps = 0
    average = MovingAverage(dict(task.module.named_parameters()), 0.7)
    train([task], Loop(epochs=5, batch_size=8, ema_decay=0.7, optimizer=Optimizer(head_learning_rate=0.1)), tmp_path)
    assert task.steps == 15
    # The last step's own weights are replaced by then: take them from the plain run, which goes the same way.
    plain = LineTask(line())
    train([plain], Loop(epochs=5, batch_size=8, optimizer=Optimizer(head_learning_rate=0.1)), tmp_path / "plain")
    decay = min(0.7, (1 + 15) / (10 + 15))
    for name, parameter in plain.module.named_parameters():
        expected = decay * average.average[name] + (1 - decay) * parameter.detach()
        torch.testing.assert_close(dict(task.module.named_parameters())[name].detach(), expected)


def test_tasks_share_their_layers_and_learn_together(tmp_path: Path) -> None:
    tasks = several_tasks()
    before = {task.name: [p.detach().clone() for p in task.module.parameters()] for task in tasks}
    result = train(tasks, several_settings(epochs=10), tmp_path)
    assert tasks[0].module[0] is tasks[1].module[0] is tasks[2].module
    assert {name for name, _ in result.losses} == {"mining", "line", "pairs"}
    for task in tasks:
        assert all(not torch.equal(p, old) for p, old in zip(task.module.parameters(), before[task.name], strict=True))
    assert result.best_metric < result.evaluations[0].metrics["mining.mse"]


def test_bert_learns_in_bfloat16_with_everything_on(tmp_path: Path) -> None:
    task = WordTask(dropout=0.1)
    settings = Loop(
        epochs=20,
        batch_size=6,
        precision="bfloat16",
        adversarial=Adversarial(method="fgm", epsilon=0.1),
        r_drop=0.1,
        ema_decay=0.9,
        metric="words.accuracy",
        optimizer=Optimizer(learning_rate=3e-3, head_learning_rate=1e-2),
    )
    result = train([task], settings, tmp_path)
    assert result.best_metric == 1.0
    assert all(parameter.dtype == torch.float32 for parameter in task.module.parameters())


def test_speed_is_that_of_the_steps(tmp_path: Path) -> None:
    result = train([LineTask(line())], Loop(epochs=2, batch_size=8), tmp_path)
    assert result.epochs == 2.0
    assert result.tokens_per_second == pytest.approx(3 * result.examples_per_second)
    assert 0 < 48 / result.seconds <= result.examples_per_second
    assert result.utilization is None


def test_what_is_tracked(tmp_path: Path) -> None:
    rows = []

    class Kept:
        def log(self, step, values):
            rows.append((step, dict(values)))

    settings = Loop(epochs=1, batch_size=12, metric="-line.mse", optimizer=Optimizer(head_learning_rate=0.5))
    result = train([LineTask(line())], settings, tmp_path, track=Kept())
    assert [step for step, _ in rows] == [0, 1, 2, 2]
    assert rows[1][1] == {"loss/line": result.losses[0][1], "learning_rate": pytest.approx(0.5)}
    assert rows[3][1] == {"line.mse": result.evaluations[-1].metrics["line.mse"]}


def test_log_lines_say_speed_and_time_left(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "recsys_batch.training"):
        train([LineTask(line())], Loop(epochs=1, batch_size=12, metric="-line.mse"), tmp_path)
    lines = [record.getMessage() for record in caplog.records]
    assert any(found.startswith("after step 0: line.mse") for found in lines)
    last = next(found for found in lines if found.startswith("step 2 of 2"))
    assert all(part in last for part in ("loss", "examples/s", "tokens/s", "0 s left"))


class WrongLabels(LineTask):
    """One label is no number."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__(module)
        self.y_N[5] = float("nan")


def test_a_loss_that_is_no_number_ends_the_run_before_it_reaches_the_weights(tmp_path: Path) -> None:
    task = WrongLabels(line())
    with pytest.raises(NonFiniteLossError, match=r"task 'line', step \d: the loss is nan.*precision") as raised:
        train([task], Loop(epochs=1, batch_size=4, checkpoint_every=1), tmp_path)
    step = int(str(raised.value).split("step ")[1].split(":")[0])
    assert torch.isfinite(weights_of(task.module)).all()
    written = [int(path.name.removeprefix("step-")) for path in tmp_path.iterdir()]
    assert max(written, default=0) <= step


def test_a_gradient_that_is_no_number_ends_the_run(tmp_path: Path) -> None:
    class Root(LineTask):
        """The root of 0 has no finite slope."""

        def loss(self, outputs, batch):
            return torch.sqrt((0 * outputs) ** 2).sum()

    task = Root(line())
    before = weights_of(task.module)
    with pytest.raises(NonFiniteLossError, match="norm of the gradient is nan"):
        train([task], Loop(), tmp_path)
    assert torch.equal(weights_of(task.module), before)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"metric": "lines.mse"}, "metric 'lines.mse': write TASK.METRIC with one of the tasks line, pairs"),
        ({"metric": "line.accuracy"}, "metric 'line.accuracy' is not measured; the tasks measure line.mse"),
        ({"task_weights": {"line": 1.0, "lime": 2.0}}, "unknown tasks: lime; the tasks are line, pairs"),
        ({"task_shares": {"lime": 2.0}}, "task_shares names unknown tasks: lime; the tasks are line, pairs"),
        ({"precision": "float16"}, "precision float16 needs a GPU, and the device is cpu"),
        ({"adversarial": Adversarial(method="pgd")}, "the network trains none"),
    ],
)
def test_settings_that_do_not_fit_are_refused_at_once(tmp_path: Path, changes, message: str) -> None:
    tasks = [LineTask(line()), PairTask(line())]
    before = copy_weights(tasks[0].module.state_dict())
    with pytest.raises(ConfigError, match=message.replace("(", r"\(")):
        train(tasks, Loop(**changes), tmp_path)
    assert all(torch.equal(tensor, before[name]) for name, tensor in tasks[0].module.state_dict().items())


def test_empty_and_ambiguous_tasks_are_refused(tmp_path: Path) -> None:
    with pytest.raises(EmptyTaskError, match="task 'line' has 0 training examples"):
        train([LineTask(line(), num=0)], Loop(), tmp_path)
    with pytest.raises(ConfigError, match="must be given and differ; they are: line, line"):
        train([LineTask(line()), LineTask(line())], Loop(), tmp_path)
    with pytest.raises(ConfigError, match="must have no dot"):
        train([LineTask(line(), name="a.b")], Loop(), tmp_path)
