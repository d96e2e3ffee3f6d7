"""Adapters in an encoder, by peft: few parameters learn, the rest is frozen; merged, it is an ordinary model again."""

import re
from typing import Any

import torch
from torch import nn

from recsys_batch.contracts.config.adapters import Adapter
from recsys_batch.contracts.errors import ConfigError
from recsys_batch.nn.learning.text_network import TextNetwork

_NAME = "adapter"
"""Also the ending by which the optimizer tells new parameters from pre-trained ones."""
_ATTENTION = re.compile(r"attn|attention", re.IGNORECASE)
_KEY_OR_VALUE = re.compile(r"(?:^|\.)(?:key|value|k|v|[kv]_(?:proj|lin)|c_attn|Wqkv)$")


def add_adapter(network: TextNetwork, settings: Adapter) -> None:
    """Put an adapter into the network's encoder and freeze all else of it. The outputs are unchanged at first.

    Raises ConfigError where the encoder has no linear layers of the wanted kind, or has an adapter already.
    """
    import peft

    model = network.model
    if _adapted(model):
        raise ConfigError("the encoder has an adapter already; merge it before another one is added")
    config: Any
    if settings.kind == "lora":
        config = peft.LoraConfig(
            r=settings.rank,
            lora_alpha=settings.alpha,  # type: ignore[arg-type]
            lora_dropout=settings.dropout,
            target_modules=_layers(model, _ATTENTION if settings.layers == "attention" else re.compile("")),
        )
    else:
        narrowing = [name for name, layer in _linear_layers(model).items() if layer.in_features > layer.out_features]
        config = peft.IA3Config(
            target_modules=[*_layers(model, _KEY_OR_VALUE), *narrowing], feedforward_modules=narrowing
        )
    with torch.random.fork_rng():
        torch.manual_seed(settings.seed)
        peft.inject_adapter_in_model(config, model, adapter_name=_NAME)


def merge_adapter(network: TextNetwork) -> None:
    """Fold the adapter into the layers that it belongs to; the network then saves as an ordinary model directory.

    Everything can learn again. Does nothing where there is no adapter.
    """
    for name, layer in _adapted(network.model).items():
        layer.merge(safe_merge=True)
        parent, _, last = name.rpartition(".")
        setattr(network.model.get_submodule(parent), last, layer.get_base_layer())
    if hasattr(network.model, "peft_config"):
        del network.model.peft_config
    network.model.requires_grad_(True)


def trained_share(module: nn.Module) -> float:
    """Return how much of a module's parameters learns, 0 to 1."""
    sizes = [(parameter.numel(), parameter.requires_grad) for parameter in module.parameters()]
    return sum(size for size, learns in sizes if learns) / max(1, sum(size for size, _ in sizes))


def _linear_layers(model: nn.Module) -> dict[str, nn.Linear]:
    return {name: layer for name, layer in model.named_modules() if isinstance(layer, nn.Linear)}


def _layers(model: nn.Module, wanted: re.Pattern[str]) -> list[str]:
    names = [name for name in _linear_layers(model) if wanted.search(name)]
    if not names:
        kind = type(model).__name__
        raise ConfigError(f"no linear layer of {kind} fits {wanted.pattern!r}; choose another adapter kind or layers")
    return names


def _adapted(model: nn.Module) -> dict[str, Any]:
    from peft.tuners.tuners_utils import BaseTunerLayer

    return {name: layer for name, layer in model.named_modules() if isinstance(layer, BaseTunerLayer)}
