"""Tasks small enough that a whole run takes milliseconds; importable from the processes that tests start."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional

from recsys_batch.contracts.config.training import Loop, Optimizer
from recsys_batch.training.loop.checkpoints import read_latest
from recsys_batch.training.loop.distributed import first_gathered_row, gather_with_gradients, join_group, rank
from recsys_batch.training.loop.run import train
from recsys_batch.training.loop.task import TaskBatch
from recsys_batch.training.shop.job import CHECKPOINTS, TrainingJob
from recsys_batch.training.shop.run import run_training


class LineTask:
    """Squared error of a straight line through points in three dimensions; `evaluate` knows the true line."""

    def __init__(self, module: nn.Module, name: str = "line", num: int = 24, noise: float = 0.0) -> None:
        self.module, self.name, self.noise = module, name, noise
        generator = torch.Generator().manual_seed(1)
        self.x_ND = torch.randn(num, 3, generator=generator)
        self.y_N = self.x_ND @ torch.tensor([1.0, -2.0, 0.5]) + 0.1 * torch.randn(num, generator=generator)
        self.epochs: list[int] = []

    def __len__(self) -> int:
        return len(self.x_ND)

    def start_epoch(self, epoch: int) -> None:
        self.epochs.append(epoch)

    def make_batch(self, indices: NDArray[np.int64], rng: np.random.Generator) -> TaskBatch:
        x_BD = self.x_ND[indices] + self.noise * torch.from_numpy(rng.standard_normal((len(indices), 3))).float()
        return TaskBatch((x_BD, self.y_N[indices]), len(indices), 3 * len(indices))

    def outputs(self, batch: TaskBatch) -> Tensor:
        return self.module(batch.inputs[0].to(next(self.module.parameters()).device))[:, 0]

    def loss(self, outputs: Tensor, batch: TaskBatch) -> Tensor:
        return ((outputs - batch.inputs[1].to(outputs)) ** 2).sum()

    def divergence(self, first: Tensor, second: Tensor, batch: TaskBatch) -> Tensor:
        return ((first - second) ** 2).sum()

    def evaluate(self) -> dict[str, float]:
        outputs_N = self.module(self.x_ND.to(next(self.module.parameters()).device))[:, 0]
        return {"mse": float(((outputs_N.cpu() - self.y_N) ** 2).mean())}


class MiningTask(LineTask):
    """Learns from the points that the network got wrong at the epoch's start three times as much."""

    def start_epoch(self, epoch: int) -> None:
        with torch.no_grad():
            errors_N = (self.module(self.x_ND)[:, 0] - self.y_N).abs()
        self.weights_N = 1.0 + 2.0 * (errors_N > errors_N.median())

    def make_batch(self, indices: NDArray[np.int64], rng: np.random.Generator) -> TaskBatch:
        made = super().make_batch(indices, rng)
        return TaskBatch((*made.inputs, self.weights_N[indices]), made.count, made.num_tokens)

    def loss(self, outputs: Tensor, batch: TaskBatch) -> Tensor:
        return (batch.inputs[2] * (outputs - batch.inputs[1]) ** 2).sum()


class PairTask:
    """Finds each row's partner among the partners of the whole batch, as retrieval does (InfoNCE)."""

    def __init__(self, module: nn.Module, name: str = "pairs", num: int = 22) -> None:
        self.module, self.name = module, name
        generator = torch.Generator().manual_seed(2)
        self.left_ND = torch.randn(num, 3, generator=generator)
        self.right_ND = self.left_ND + 0.3 * torch.randn(num, 3, generator=generator)

    def __len__(self) -> int:
        return len(self.left_ND)

    def start_epoch(self, epoch: int) -> None:
        pass

    def make_batch(self, indices: NDArray[np.int64], rng: np.random.Generator) -> TaskBatch:
        return TaskBatch((self.left_ND[indices], self.right_ND[indices]), len(indices), 2 * len(indices))

    def outputs(self, batch: TaskBatch) -> Tensor:
        left_BH, right_BH = (functional.normalize(self.module(side), dim=1) for side in batch.inputs)
        return 5 * left_BH @ gather_with_gradients(right_BH).T

    def loss(self, outputs: Tensor, batch: TaskBatch) -> Tensor:
        first = first_gathered_row(len(outputs), outputs.device)
        return functional.cross_entropy(outputs, first + torch.arange(len(outputs)), reduction="sum")

    def divergence(self, first: Tensor, second: Tensor, batch: TaskBatch) -> Tensor:
        return ((first - second) ** 2).sum()

    def evaluate(self) -> dict[str, float]:
        return {}


class WordTask:
    """Tells whether a sentence of word ids holds more even than odd ones; the network is a tiny BERT and a head."""

    def __init__(self, seed: int = 0, dropout: float = 0.0, num: int = 12) -> None:
        self.name = "words"
        self.module = tiny_bert(seed, dropout)
        self.ids_NL = torch.randint(1, 20, (num, 6), generator=torch.Generator().manual_seed(3))
        self.labels_N = ((self.ids_NL % 2 == 0).sum(1) > 3).float()

    def __len__(self) -> int:
        return len(self.ids_NL)

    def start_epoch(self, epoch: int) -> None:
        pass

    def make_batch(self, indices: NDArray[np.int64], rng: np.random.Generator) -> TaskBatch:
        return TaskBatch((self.ids_NL[indices], self.labels_N[indices]), len(indices), 6 * len(indices))

    def outputs(self, batch: TaskBatch) -> Tensor:
        device = next(self.module.parameters()).device
        return self.module["head"](self.module["encoder"](batch.inputs[0].to(device)).last_hidden_state[:, 0])[:, 0]

    def loss(self, outputs: Tensor, batch: TaskBatch) -> Tensor:
        labels_B = batch.inputs[1].to(outputs.device)
        return functional.binary_cross_entropy_with_logits(outputs.float(), labels_B, reduction="sum")

    def divergence(self, first: Tensor, second: Tensor, batch: TaskBatch) -> Tensor:
        return ((first - second) ** 2).sum()

    def evaluate(self) -> dict[str, float]:
        outputs_N = self.outputs(self.make_batch(np.arange(len(self)), np.random.default_rng(0)))
        return {"accuracy": float(((outputs_N.cpu() > 0) == (self.labels_N > 0)).float().mean())}


def line(seed: int = 0) -> nn.Linear:
    torch.manual_seed(seed)
    return nn.Linear(3, 1)


def deep_line(seed: int = 0, dropout: float = 0.2) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Dropout(dropout), nn.Linear(8, 1))


def tiny_bert(seed: int, dropout: float) -> nn.ModuleDict:
    from transformers import BertConfig, BertModel

    torch.manual_seed(seed)
    config = BertConfig(
        vocab_size=20,
        hidden_size=16,
        num_hidden_layers=3,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=16,
        hidden_dropout_prob=dropout,
        attention_probs_dropout_prob=dropout,
    )
    return nn.ModuleDict({"encoder": BertModel(config, add_pooling_layer=False), "head": nn.Linear(16, 1)})


def train_long(folder: str) -> list[LineTask | PairTask]:
    """Train a second or two with frequent checkpoints, or go on with that."""
    tasks = several_tasks()
    train(tasks, several_settings(max_steps=120, epochs=100), Path(folder))
    return tasks


def several_tasks() -> list[LineTask | PairTask]:
    """Two tasks that share a layer with dropout, one with mined weights and a metric, one with random batches."""
    deep = deep_line()
    torch.manual_seed(5)
    return [
        MiningTask(deep, "mining", num=20, noise=0.1),
        LineTask(nn.Sequential(deep[0], nn.Dropout(0.1), nn.Linear(8, 1)), "line", num=9, noise=0.3),
        PairTask(deep[0], "pairs", num=7),
    ]


def several_settings(**changes: object) -> Loop:
    """Everything that a checkpoint has to remember."""
    given = {
        "epochs": 3,
        "batch_size": 4,
        "ema_decay": 0.8,
        "r_drop": 0.3,
        "learn_task_weights": True,
        "metric": "-mining.mse",
        "optimizer": Optimizer(head_learning_rate=0.02, accumulate=2),
        "checkpoint_every": 2,
    }
    return Loop(**{**given, **changes})


def shared_tasks() -> list[LineTask | PairTask]:
    """Two tasks without randomness in the network, so that processes and batches can be compared."""
    deep = deep_line(dropout=0.0)
    return [LineTask(deep, "line", num=22), PairTask(deep[0], "pairs", num=22)]


def train_together(folder: str) -> list[float]:
    """Train `shared_tasks` in the group of processes that the environment describes; the first one keeps the weights.

    Returns the loss of every step.
    """
    with join_group():
        tasks = shared_tasks()
        if rank():
            with torch.no_grad():
                tasks[0].module[0].weight.fill_(7.0)  # the first process's weights count
        result = train(tasks, shared_settings(), Path(folder))
        if rank() == 0:
            weights = {name: tensor.contiguous() for name, tensor in tasks[0].module.state_dict().items()}
            save_file(weights, Path(folder) / "weights.safetensors")
            losses = [loss for _, loss in result.losses]
            (Path(folder) / "losses.json").write_text(json.dumps(losses))
    return [loss for _, loss in result.losses]


def shared_settings() -> Loop:
    """Batches of 8 that two processes split, the last of an epoch unevenly."""
    optimizer = Optimizer(head_learning_rate=0.02, accumulate=2)
    return Loop(epochs=3, batch_size=8, optimizer=optimizer, learn_task_weights=True, metric="-line.mse", ema_decay=0.5)


def train_shop_together(folder: str, job: TrainingJob) -> list[tuple[str, float]]:
    """Train a job's tasks in the group of processes of the environment, dropout off; return task and loss a step."""
    placed = dataclasses.replace(job, runs=folder)
    run_training(placed)
    checkpoint = read_latest(placed.folder / CHECKPOINTS)
    assert checkpoint is not None
    return [(task, loss) for task, loss in checkpoint.facts["records"]["losses"]]
