"""Data-parallel training over processes: each learns from its share of every batch, all take the same step.

Does not start processes: torchrun and Spark's TorchDistributor do, and `join_group` reads what they set.
"""

import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from recsys_batch.contracts.errors import ConfigError


@contextmanager
def join_group(device: str = "cpu") -> Iterator[str]:
    """Join the group of processes that the launcher describes in the environment, and leave it after the block.

    Gives the device of this process: `cpu`, or with `device` "cuda" the GPU of its local rank. Without a launcher the
    process stays alone. Raises ConfigError where the launcher set only a part.
    """
    names = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
    missing = [name for name in names if name not in os.environ]
    if "WORLD_SIZE" not in os.environ:
        yield device
        return
    if missing:
        raise ConfigError(f"WORLD_SIZE is set but {', '.join(missing)} is not; start with torchrun or TorchDistributor")
    if device == "cuda":
        device = f"cuda:{os.environ.get('LOCAL_RANK', '0')}"
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if device.startswith("cuda") else "gloo")
    try:
        yield device
    finally:
        dist.destroy_process_group()


def rank() -> int:
    """Return this process's number in the group, 0 where it is alone."""
    return dist.get_rank() if dist.is_initialized() else 0


def num_ranks() -> int:
    """Return the number of processes, 1 where this one is alone."""
    return dist.get_world_size() if dist.is_initialized() else 1


def add_over_ranks(values: Tensor) -> Tensor:
    """Return the sum of every process's `values`."""
    if num_ranks() > 1:
        values = values.clone()
        dist.all_reduce(values)
    return values


def add_gradients(parameters: Iterable[torch.nn.Parameter]) -> None:
    """Replace every gradient by its sum over the processes, in one exchange; all must have the same gradients."""
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    if num_ranks() == 1 or not gradients:
        return
    flat = torch.cat([gradient.reshape(-1) for gradient in gradients])
    dist.all_reduce(flat)
    parts = torch.split(flat, [gradient.numel() for gradient in gradients])
    for gradient, part in zip(gradients, parts, strict=True):
        gradient.copy_(part.view_as(gradient))


def copy_from_first(tensors: Iterable[Tensor]) -> None:
    """Give every process the first one's values, in place."""
    if num_ranks() > 1:
        for tensor in tensors:
            dist.broadcast(tensor.detach(), 0)


def tell_all(message: Any, device: torch.device) -> Any:
    """Return the first process's `message`, anything that JSON can hold, in every process."""
    if num_ranks() == 1:
        return message
    content = torch.frombuffer(bytearray(json.dumps(message).encode()), dtype=torch.uint8).to(device)
    size = torch.tensor([len(content)], device=device)
    dist.broadcast(size, 0)
    if rank():
        content = torch.zeros(int(size), dtype=torch.uint8, device=device)
    dist.broadcast(content, 0)
    return json.loads(bytes(content.cpu().numpy()))


def wait_for_all() -> None:
    """Return once every process is here."""
    if num_ranks() > 1:
        dist.barrier()


def gather_with_gradients(rows_BD: Tensor) -> Tensor:
    """Return the rows of all processes (sum of B, D) in the order of ranks, gradients flowing back to each its own.

    For losses that compare an example with the whole batch: each process computes the loss of its own examples, whose
    sum over the processes is then the loss of the one large batch. The number of rows may differ, D may not. Alone, or
    where no gradients are recorded (the first process evaluates without the others), it returns the rows as they are;
    `first_gathered_row` says where this process's begin.
    """
    if num_ranks() == 1 or not torch.is_grad_enabled():
        return rows_BD
    gathered: Tensor = _Gather.apply(rows_BD)
    return gathered


def first_gathered_row(num_rows: int, device: torch.device) -> int:
    """Return where this process's rows begin in `gather_with_gradients`, if it gives `num_rows`; all must call it."""
    if num_ranks() == 1 or not torch.is_grad_enabled():
        return 0
    return int(sum(_sizes(num_rows, device)[: rank()]))


def _sizes(num_rows: int, device: torch.device) -> list[int]:
    sizes = torch.zeros(num_ranks(), dtype=torch.int64, device=device)
    sizes[rank()] = num_rows
    dist.all_reduce(sizes)
    return [int(size) for size in sizes]


def gather_rows(rows_BD: Tensor) -> Tensor:
    """Return the rows of all processes (sum of B, D) in the order of ranks, without gradients; all must call it."""
    if num_ranks() == 1:
        return rows_BD
    sizes = _sizes(len(rows_BD), rows_BD.device)
    return _gather(rows_BD.detach(), sizes)


def _gather(rows_BD: Tensor, sizes: list[int]) -> Tensor:
    # Filled up to one size: gloo gathers equal shapes only.
    padded = rows_BD.new_zeros((max(sizes), *rows_BD.shape[1:]))
    padded[: len(rows_BD)] = rows_BD
    parts = [torch.empty_like(padded) for _ in sizes]
    dist.all_gather(parts, padded)
    return torch.cat([part[:size] for part, size in zip(parts, sizes, strict=True)])


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows_BD: Tensor) -> Tensor:
        ctx.sizes = _sizes(len(rows_BD), rows_BD.device)
        return _gather(rows_BD, ctx.sizes)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        whole = gradients[0].contiguous().clone()
        dist.all_reduce(whole)
        start = sum(ctx.sizes[: rank()])
        return whole[start : start + ctx.sizes[rank()]]
