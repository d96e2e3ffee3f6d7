"""AdamW as encoders are tuned with it: lower layers slower, heads faster, no decay of biases and norms, a schedule."""

import math
import re
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import nn

from recsys_batch.contracts.config.training import Optimizer

_LAYER = re.compile(r"(?:^|\.)(?:layer|layers|block|blocks|h)\.(\d+)\.")
_EMBEDDING = re.compile(r"(?:^|\.)(?:embeddings?|embed_tokens|embed_positions|wte|wpe|shared)\.")
_ADAPTER = re.compile(r"(?:^|[._])(?:lora|adapter)")


def make_optimizer(
    parameters: Mapping[str, nn.Parameter], modules: Iterable[nn.Module], settings: Optimizer
) -> torch.optim.AdamW:
    """Return AdamW (Loshchilov and Hutter, 2019) over `parameters`, in groups of one rate and decay.

    Each group's `base_rate` is its rate at the top of the schedule. What belongs to a pre-trained encoder inside
    `modules` gets `learning_rate` by its depth, everything else (heads, adapters, task weights) `head_learning_rate`.
    """
    factors = depth_factors(modules, settings.layer_decay)
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for parameter in parameters.values():
        factor = factors.get(id(parameter))
        rate = settings.head_learning_rate if factor is None else settings.learning_rate * factor
        # Biases, norms and scalars have one dimension at most.
        decay = settings.weight_decay if parameter.ndim > 1 else 0.0
        groups.setdefault((rate, decay), []).append(parameter)
    return torch.optim.AdamW(
        [
            {"params": members, "lr": rate, "base_rate": rate, "weight_decay": decay}
            for (rate, decay), members in groups.items()
        ],
        fused=True,
    )


def depth_factors(modules: Iterable[nn.Module], layer_decay: float) -> dict[int, float]:
    """Return id of parameter -> layer_decay ** (layers above it), for the pre-trained encoders inside `modules`.

    An encoder is a transformers model, without the head that its class may add. Embeddings stand below the lowest
    layer; what has no layer, such as a last norm, counts as the top one. Adapters are new, and so left out.
    """
    factors: dict[int, float] = {}
    for module in modules:
        for encoder in _find_encoders(module):
            layers = {name: _LAYER.search(name) for name, _ in encoder.named_parameters()}
            num_layers = 1 + max((int(found[1]) for found in layers.values() if found), default=-1)
            for name, parameter in encoder.named_parameters():
                if _ADAPTER.search(name):
                    continue
                found = layers[name]
                above = num_layers - 1 - int(found[1]) if found else num_layers if _EMBEDDING.search(name) else 0
                factors[id(parameter)] = layer_decay**above
    return factors


def _find_encoders(module: nn.Module) -> list[nn.Module]:
    # By what it offers and not by its class: this file does without transformers, and peft's wrappers are seen too.
    if hasattr(module, "get_input_embeddings") and hasattr(module, "base_model_prefix"):
        inner: Any = getattr(module, str(module.base_model_prefix), module)
        return [inner]
    return [encoder for child in module.children() for encoder in _find_encoders(child)]


def schedule_factor(step: int, num_steps: int, settings: Optimizer) -> float:
    """Return what a group's rate is multiplied by in step 0, 1, ... of `num_steps`.

    It rises in equal parts to 1 over the warm-up, then falls towards 0, which it would reach in step `num_steps`.
    """
    warmup = round(settings.warmup_share * num_steps)
    if step < warmup:
        return (step + 1) / (warmup + 1)
    share = (step - warmup) / max(1, num_steps - warmup)
    if settings.schedule == "linear":
        return 1 - share
    return 0.5 * (1 + math.cos(math.pi * share)) if settings.schedule == "cosine" else 1.0


def set_rates(optimizer: torch.optim.Optimizer, factor: float) -> None:
    """Set every group's rate to its `base_rate` times `factor`."""
    for group in optimizer.param_groups:
        group["lr"] = group["base_rate"] * factor
