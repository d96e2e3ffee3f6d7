"""A smaller model cut out of a teacher: fewer layers, fewer feed-forward neurons, a narrower hidden state.

It starts from the teacher's own weights, which is what makes an hour of distillation enough (Sanh et al., 2019, for
layers). What is written is an ordinary model directory. Shapes: H teacher's width, W student's, T tokens.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from recsys_batch.contracts.config.compress import StudentShape
from recsys_batch.contracts.errors import ConfigError
from recsys_batch.nn.backbones import bert
from recsys_batch.nn.learning.importance import head_norms, neuron_norms, strongest
from recsys_batch.nn.learning.text_network import TextNetwork

_LAYER = "encoder.layer."
_TOKENS_FOR_AXES = 100_000
_INTO_HIDDEN = ("attention.output.dense", "output.dense")
_FROM_HIDDEN = ("attention.self.query", "attention.self.key", "attention.self.value", "intermediate.dense")


class StudentShapeError(ConfigError):
    """The teacher has no model of this shape in it."""


def choose_layers(num_layers: int, kept: int) -> list[int]:
    """Return which layers stay, evenly spaced from the first to the last: 0, 3 and 5 for three of six.

    The last one alone knows what is pooled and the first one what embeddings look like: a student of both starts much
    nearer to its teacher than one of every second layer.
    """
    if kept == 1:
        return [num_layers - 1]
    gaps = kept - 1
    return [(2 * place * (num_layers - 1) + gaps) // (2 * gaps) for place in range(kept)]


def make_student(
    teacher: Path, folder: Path, shape: StudentShape, texts: Sequence[str] = (), max_tokens: int = 128
) -> None:
    """Write the student of a BERT-like teacher to a new folder; the same arguments give the same bytes.

    `texts`: examples of what it will read; their token states give the main axes of a narrower hidden state, so only
    `width` with `projection: pca` needs them.

    Raises StudentShapeError where the teacher is smaller than `shape` or has another architecture, ModelFilesError
    where the teacher cannot be read or `folder` holds something.
    """
    network = TextNetwork.load(teacher, max_tokens)
    config: Any = network.model.config
    _check_shape(config, shape, teacher, texts)
    tensors = {name: tensor.detach().float() for name, tensor in network.model.state_dict().items()}
    if shape.layers:
        tensors = _keep_layers(tensors, choose_layers(config.num_hidden_layers, shape.layers))
    if shape.neurons:
        tensors = _change_layers(tensors, lambda layer: keep_neurons(layer, shape.neurons))
    if shape.width and shape.width < config.hidden_size:
        axes_HW = _axes(network, shape, texts)
        tensors = _narrow(tensors, axes_HW, config.num_attention_heads)
        head_width = config.hidden_size // config.num_attention_heads
        config.num_attention_heads = shape.width // head_width
        config.hidden_size = shape.width
    config.num_hidden_layers = shape.layers or config.num_hidden_layers
    config.intermediate_size = shape.neurons or config.intermediate_size
    model_class: Any = type(network.model)
    model = model_class(config, add_pooling_layer=False)
    model.load_state_dict({name: tensor.contiguous() for name, tensor in tensors.items()})
    TextNetwork(model, network.folder, max_tokens, network.pooling).save(folder)


def keep_neurons(layer: dict[str, Tensor], count: int) -> dict[str, Tensor]:
    """Return a layer's tensors with only the `count` feed-forward neurons of the greatest norm."""
    kept_I = strongest(neuron_norms(layer), count)
    smaller = {name: layer[name][kept_I] for name in ("intermediate.dense.weight", "intermediate.dense.bias")}
    return layer | smaller | {"output.dense.weight": layer["output.dense.weight"][:, kept_I]}


def main_axes(rows_TH: Tensor, width: int) -> Tensor:
    """Return the `width` orthonormal directions (H, W) that keep the most of the rows' squares (PCA without centering:
    what is projected are states, not their differences from a mean).
    """
    rows_TH = rows_TH.double()
    _, vectors_HH = torch.linalg.eigh(rows_TH.T @ rows_TH)
    axes_HW = vectors_HH[:, -width:].flip(1)
    # eigh leaves the sign open: the largest entry of each axis is positive.
    signs_W = axes_HW.gather(0, axes_HW.abs().argmax(0, keepdim=True)).sign()
    found_HW: Tensor = (axes_HW * signs_W).float()
    return found_HW


def _check_shape(config: Any, shape: StudentShape, teacher: Path, texts: Sequence[str]) -> None:
    if not bert.supports(config.to_dict()):
        raise StudentShapeError(
            f"{teacher}: students are cut out of BERT and RoBERTa encoders, and this is {config.model_type!r}"
        )
    sizes = (("layers", "num_hidden_layers"), ("neurons", "intermediate_size"), ("width", "hidden_size"))
    for name, key in sizes:
        if getattr(shape, name) > getattr(config, key):
            raise StudentShapeError(
                f"{teacher}: student.{name} is {getattr(shape, name)}, and the teacher has {getattr(config, key)}; "
                "give at most that, or 0 to leave it"
            )
    head_width = config.hidden_size // config.num_attention_heads
    if shape.width % head_width:
        raise StudentShapeError(
            f"{teacher}: student.width {shape.width} is no multiple of the {head_width} dimensions of a head"
        )
    if 0 < shape.width < config.hidden_size and shape.projection == "pca" and not any(texts):
        raise StudentShapeError("student.projection pca finds its axes in texts, and none are given; use truncate")


def _keep_layers(tensors: dict[str, Tensor], kept: Sequence[int]) -> dict[str, Tensor]:
    place = {old: new for new, old in enumerate(kept)}
    found = {}
    for name, tensor in tensors.items():
        if not name.startswith(_LAYER):
            found[name] = tensor
            continue
        number, _, rest = name.removeprefix(_LAYER).partition(".")
        if int(number) in place:
            found[f"{_LAYER}{place[int(number)]}.{rest}"] = tensor
    return found


def _change_layers(
    tensors: dict[str, Tensor], change: Callable[[dict[str, Tensor]], dict[str, Tensor]]
) -> dict[str, Tensor]:
    layers: dict[str, dict[str, Tensor]] = {}
    changed = {}
    for name, tensor in tensors.items():
        if name.startswith(_LAYER):
            number, _, rest = name.removeprefix(_LAYER).partition(".")
            layers.setdefault(number, {})[rest] = tensor
        else:
            changed[name] = tensor
    for number, layer in layers.items():
        changed |= {f"{_LAYER}{number}.{rest}": tensor for rest, tensor in change(layer).items()}
    return changed


@torch.no_grad()
def _axes(network: TextNetwork, shape: StudentShape, texts: Sequence[str]) -> Tensor:
    """Return the directions (H, W) of the hidden state that the student keeps: one basis for all layers, because what
    a layer adds to its input must lie in the same one.
    """
    if shape.projection == "truncate":
        return torch.eye(network.dim)[:, : shape.width]
    network.eval()
    model: Any = network.model
    rows, num_tokens = [], 0
    for start in range(0, len(texts), 64):
        batch = network.tokenize(texts[start : start + 64])
        outputs = model(batch.ids_BL, attention_mask=batch.mask_BL.long(), output_hidden_states=True)
        rows += [states_BLH[batch.mask_BL] for states_BLH in outputs.hidden_states]
        num_tokens += batch.num_tokens
        if num_tokens > _TOKENS_FOR_AXES:
            break
    return main_axes(torch.cat(rows), shape.width)


def _narrow(tensors: dict[str, Tensor], axes_HW: Tensor, num_heads: int) -> dict[str, Tensor]:
    """Express the hidden state by its coordinates on the axes, and keep as many heads as fit in the narrower width.

    Exact for the linear layers as far as states lie in the axes' span. Norms are not: their gains become those of the
    axes, and their means are taken over other coordinates. Distillation has to mend that.
    """
    head_width = len(axes_HW) // num_heads
    kept_heads = axes_HW.shape[1] // head_width

    def project(tensor: Tensor, is_norm_weight: bool) -> Tensor:
        if is_norm_weight:
            return (axes_HW**2 * tensor[:, None]).sum(0)
        return tensor @ axes_HW  # tables (rows, H) and vectors (H)

    def narrow_layer(layer: dict[str, Tensor]) -> dict[str, Tensor]:
        chosen = strongest(head_norms(layer, num_heads), kept_heads)
        heads_W = (chosen[:, None] * head_width + torch.arange(head_width)).flatten()
        made = {n: project(t, n.endswith("weight")) for n, t in layer.items() if "LayerNorm" in n}
        for name in _FROM_HIDDEN:
            rows = heads_W if name.startswith("attention") else slice(None)
            made[f"{name}.weight"] = layer[f"{name}.weight"][rows] @ axes_HW
            made[f"{name}.bias"] = layer[f"{name}.bias"][rows]
        for name in _INTO_HIDDEN:
            columns = heads_W if name.startswith("attention") else slice(None)
            made[f"{name}.weight"] = axes_HW.T @ layer[f"{name}.weight"][:, columns]
            made[f"{name}.bias"] = layer[f"{name}.bias"] @ axes_HW
        return made

    narrowed = _change_layers(tensors, narrow_layer)
    for name, tensor in tensors.items():
        if name.startswith("embeddings.") and tensor.is_floating_point():
            narrowed[name] = project(tensor, name.endswith("LayerNorm.weight"))
    return narrowed
