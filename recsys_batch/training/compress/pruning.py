"""Magnitude pruning: heads and feed-forward neurons as wholes, or single weights.

Whole neurons leave smaller matrices at once. A head cannot leave an ordinary BERT file, whose attention is as wide as
its hidden state: its weights become 0, stay 0 through training, and `nn.bert` leaves them out of its products. Single
weights only become 0. Works on the BERT and RoBERTa encoders of transformers.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from recsys_batch.contracts.config.compress import Pruning
from recsys_batch.contracts.errors import ConfigError
from recsys_batch.nn.backbones import bert
from recsys_batch.nn.learning.importance import NormName, head_norms, neuron_norms, strongest
from recsys_batch.nn.learning.text_network import TextNetwork

Masks = dict[str, Tensor]
"""Name of a parameter -> true where a weight stays; parameters that lose none are not named."""


class PruningError(ConfigError):
    """The network does not have what should be pruned from it."""


def prune(network: TextNetwork, settings: Pruning) -> Masks:
    """Take neurons out and return the masks of heads and single weights, which `holding` applies.

    Raises PruningError where more should stay than there is, or the network is no BERT or RoBERTa encoder.
    """
    if settings.neurons:
        prune_neurons(network, settings.neurons, settings.norm)
    masks = head_masks(network, settings.heads, settings.norm) if settings.heads else {}
    for name, mask in (weight_masks(network, settings.share) if settings.share else {}).items():
        masks[name] = masks[name] & mask if name in masks else mask
    return masks


@torch.no_grad()
def prune_neurons(network: TextNetwork, count: int, norm: NormName = "l2") -> None:
    """Leave each layer its `count` feed-forward neurons of the greatest norm, in place: the matrices become smaller."""
    config = _config(network)
    _check_count("neurons", count, int(config.intermediate_size))
    for layer in _layers(network):
        kept_I = strongest(neuron_norms(_tensors(layer), norm), count)
        layer.intermediate.dense = _linear(layer.intermediate.dense, rows=kept_I)
        layer.output.dense = _linear(layer.output.dense, columns=kept_I)
    config.intermediate_size = count


def head_masks(network: TextNetwork, count: int, norm: NormName = "l2") -> Masks:
    """Return masks that leave each layer its `count` attention heads of the greatest norm."""
    num_heads = int(_config(network).num_attention_heads)
    _check_count("heads", count, num_heads)
    masks: Masks = {}
    for number, layer in enumerate(_layers(network)):
        kept = strongest(head_norms(_tensors(layer), num_heads, norm), count)
        stays_N = torch.zeros(num_heads, dtype=torch.bool)
        stays_N[kept] = True
        stays_H = stays_N.repeat_interleave(network.dim // num_heads)
        name = f"{_LAYERS}.{number}.attention"
        for part in ("query", "key", "value"):
            weight = getattr(layer.attention.self, part).weight
            masks[f"{name}.self.{part}.weight"] = stays_H[:, None].expand(weight.shape).clone()
            masks[f"{name}.self.{part}.bias"] = stays_H.clone()
        weight = layer.attention.output.dense.weight
        masks[f"{name}.output.dense.weight"] = stays_H.expand(weight.shape).clone()
    return masks


def weight_masks(network: TextNetwork, share: float) -> Masks:
    """Return masks without the smallest `share` (rounded) of the weights of each linear layer of the encoder; biases,
    norms and embeddings stay whole. Of equal weights the first goes.
    """
    if not 0 <= share < 1:
        raise PruningError(f"pruning.share {share} must be at least 0 and below 1, or nothing is left")
    masks: Masks = {}
    for number, layer in enumerate(_layers(network)):
        for name, module in layer.named_modules():
            if isinstance(module, nn.Linear):
                magnitudes = module.weight.detach().abs().flatten()
                stays = torch.ones(magnitudes.shape, dtype=torch.bool)
                stays[torch.argsort(magnitudes, stable=True)[: round(share * len(magnitudes))]] = False
                masks[f"{_LAYERS}.{number}.{name}.weight"] = stays.view(module.weight.shape)
    return masks


@contextmanager
def holding(network: TextNetwork, masks: Mapping[str, Tensor]) -> Iterator[None]:
    """Set the weights that masks exclude to 0, and keep them there while training goes on.

    Their gradients are 0 from the start, so AdamW neither moves nor decays them to anything else; a moving average of
    zeros is 0. A resumed run applies the same masks before it takes up its checkpoint.
    """
    parameters = dict(network.model.named_parameters())
    handles = []
    for name, mask in masks.items():
        parameter = parameters[name]
        on_device = mask.to(parameter.device)
        with torch.no_grad():
            parameter.mul_(on_device)
        handles.append(_mask_gradient(parameter, on_device))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


_LAYERS = "encoder.layer"


def _config(network: TextNetwork) -> Any:
    config: Any = network.model.config
    if not bert.supports(config.to_dict()):
        raise PruningError(
            f"{network.folder}: pruning knows BERT and RoBERTa encoders, and this is {config.model_type!r}; "
            "set pruning's heads, neurons and share to 0"
        )
    return config


def _layers(network: TextNetwork) -> list[Any]:
    _config(network)
    model: Any = network.model
    return list(model.encoder.layer)


def _tensors(layer: nn.Module) -> dict[str, Tensor]:
    return {name: parameter.detach() for name, parameter in layer.named_parameters()}


def _check_count(what: str, count: int, there: int) -> None:
    if not 0 < count <= there:
        raise PruningError(f"pruning.{what} is {count}, and a layer has {there}; leave at most that, or 0 for all")


def _mask_gradient(parameter: nn.Parameter, mask: Tensor) -> Any:
    return parameter.register_hook(lambda gradient: gradient * mask)  # type: ignore[no-untyped-call]


def _linear(old: nn.Linear, rows: Tensor | None = None, columns: Tensor | None = None) -> nn.Linear:
    weight, bias = old.weight.detach(), old.bias.detach()
    if rows is not None:
        weight, bias = weight[rows], bias[rows]
    if columns is not None:
        weight = weight[:, columns]
    made = nn.Linear(weight.shape[1], weight.shape[0], device="meta")
    made.weight, made.bias = nn.Parameter(weight.clone()), nn.Parameter(bias.clone())
    return made
