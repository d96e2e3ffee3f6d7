"""A network from scratch: BERT's, GPT's or T5's architecture at any size, with a tokenizer, as a model directory."""

from pathlib import Path
from typing import Any

import tokenizers
import torch

from recsys_batch.contracts.config.pretrain import Architecture
from recsys_batch.contracts.errors import ConfigError
from recsys_batch.nn.encoder.pooling import PoolingName
from recsys_batch.nn.files.quiet_loading import quiet_transformers
from recsys_batch.nn.learning.text_network import write_pooling
from recsys_batch.training.pretrain.tokenizers import save_tokenizer, special_id

POOLING: dict[str, PoolingName] = {"bert": "mean", "gpt": "last", "t5": "mean"}
"""How token states become one vector; of a GPT only the last token has read the whole text."""


def new_model(shape: Architecture, tokenizer: tokenizers.Tokenizer, folder: Path, seed: int) -> None:
    """Write a model directory with random weights, which depend on `seed` alone, language head included.

    Raises ConfigError where the folder holds something, ModelFilesError where the tokenizer lacks a special token.
    """
    if folder.is_dir() and any(folder.iterdir()):
        raise ConfigError(f"{folder} is not empty; a new model needs a folder of its own")
    with quiet_transformers(), torch.random.fork_rng():
        torch.manual_seed(seed)
        model = _build(shape, tokenizer)
        folder.mkdir(parents=True, exist_ok=True)
        model.save_pretrained(str(folder), safe_serialization=True)
    save_tokenizer(tokenizer, folder)
    write_pooling(folder, shape.hidden_size, POOLING[shape.kind])


def _build(shape: Architecture, tokenizer: tokenizers.Tokenizer) -> Any:
    import transformers

    vocab_size, pad = tokenizer.get_vocab_size(), special_id(tokenizer, "pad")
    width = shape.feed_forward or 4 * shape.hidden_size
    if shape.kind == "bert":
        return transformers.BertForMaskedLM(
            transformers.BertConfig(
                vocab_size=vocab_size,
                hidden_size=shape.hidden_size,
                num_hidden_layers=shape.num_layers,
                num_attention_heads=shape.num_heads,
                intermediate_size=width,
                max_position_embeddings=shape.max_positions,
                hidden_dropout_prob=shape.dropout,
                attention_probs_dropout_prob=shape.dropout,
                pad_token_id=pad,
            )
        )
    if shape.kind == "gpt":
        return transformers.GPT2LMHeadModel(
            transformers.GPT2Config(
                vocab_size=vocab_size,
                n_embd=shape.hidden_size,
                n_layer=shape.num_layers,
                n_head=shape.num_heads,
                n_inner=width,
                n_positions=shape.max_positions,
                resid_pdrop=shape.dropout,
                embd_pdrop=shape.dropout,
                attn_pdrop=shape.dropout,
                bos_token_id=special_id(tokenizer, "bos"),
                eos_token_id=special_id(tokenizer, "eos"),
                pad_token_id=pad,
            )
        )
    return transformers.T5ForConditionalGeneration(
        transformers.T5Config(
            vocab_size=vocab_size,
            d_model=shape.hidden_size,
            d_kv=shape.hidden_size // shape.num_heads,
            d_ff=width,
            num_layers=shape.num_layers,
            num_heads=shape.num_heads,
            dropout_rate=shape.dropout,
            pad_token_id=pad,
            eos_token_id=special_id(tokenizer, "eos"),
            decoder_start_token_id=pad,  # type: ignore[call-arg] # kept, though no declared field
        )
    )
