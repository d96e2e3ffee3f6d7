"""Adversarial training: the word embeddings are moved to where the loss grows, and the network learns there too."""

import math
from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

from recsys_batch.contracts.config.training import Adversarial
from recsys_batch.contracts.errors import ConfigError
from recsys_batch.training.loop.distributed import add_over_ranks

_NAMES = ("word_embeddings.weight", "tok_embeddings.weight", "embed_tokens.weight", "wte.weight", "shared.weight")


def find_word_embeddings(module: nn.Module) -> list[nn.Parameter]:
    """Return the embedding matrices of words that `module` trains.

    Raises ConfigError where there is none, as where the encoder is frozen under adapters.
    """
    found = {
        id(parameter): parameter
        for name, parameter in module.named_parameters()
        if name.endswith(_NAMES) and parameter.requires_grad
    }
    if not found:
        raise ConfigError(
            "adversarial training perturbs the word embeddings, and the network trains none "
            f"(looked for parameters called {', '.join(_NAMES)}); set adversarial.method to none, or train the encoder"
        )
    return list(found.values())


def add_adversarial_gradients(
    embeddings: Iterable[nn.Parameter],
    parameters: Iterable[nn.Parameter],
    settings: Adversarial,
    compute_gradients: Callable[[], object],
) -> None:
    """Add to the gradients, which must be those of the step, the ones of the same batches with perturbed embeddings.

    `compute_gradients` adds the gradients at the weights as they are. FGM (Miyato, Dai and Goodfellow, 2017) goes
    `epsilon` along the gradient once; PGD (Madry et al., 2018) goes `steps` times `step_size` along the gradient at
    the point reached, never leaving the ball of radius `epsilon`, and learns at the last point. The embeddings have
    their own values, bit by bit, when this returns.
    """
    embeddings, parameters = list(embeddings), list(parameters)
    own = [embedding.detach().clone() for embedding in embeddings]
    clean = [parameter.grad for parameter in parameters]
    num_steps = settings.steps if settings.method == "pgd" else 1
    size = settings.step_size if settings.method == "pgd" else settings.epsilon
    try:
        for step in range(num_steps):
            with torch.no_grad():
                for embedding, start in zip(embeddings, own, strict=True):
                    _move(embedding, start, size, settings.epsilon)
            last = step == num_steps - 1
            for parameter, gradient in zip(parameters, clean, strict=True):
                parameter.grad = gradient if last else None
            compute_gradients()
    finally:
        with torch.no_grad():
            for embedding, start in zip(embeddings, own, strict=True):
                embedding.copy_(start)


def _move(embedding: nn.Parameter, start: Tensor, size: float, radius: float) -> None:
    if embedding.grad is None:
        return
    gradient = add_over_ranks(embedding.grad)
    norm = float(gradient.norm())
    if norm == 0 or not math.isfinite(norm):  # float16 overflows now and then; the optimizer skips that step
        return
    embedding.add_(gradient, alpha=size / norm)
    moved = embedding - start
    distance = float(moved.norm())
    if distance > radius:
        embedding.copy_(start + moved * (radius / distance))
