"""The packed BERT against transformers' own classes, on small random weights of each architecture."""

import json
import shutil

import pytest
import torch

from recsys_batch.contracts.errors import ModelFilesError
from recsys_batch.nn.backbones.bert import PackedBert
from recsys_batch.nn.backbones.load import load_backbone
from recsys_batch.nn.backbones.padded import PaddedTransformer
from recsys_batch.nn.encoder.pooling import pool

SIZES = {
    "vocab_size": 50,
    "hidden_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "intermediate_size": 40,
    "max_position_embeddings": 40,
    "pad_token_id": 1,
}


@pytest.fixture(params=["BertModel", "BertForMaskedLM", "XLMRobertaModel", "RobertaForMaskedLM"])
def checkpoint(request, tmp_path, model_path):
    import transformers

    torch.manual_seed(0)
    model_class = getattr(transformers, request.param)
    model = model_class(model_class.config_class(**SIZES))
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    model.eval().save_pretrained(tmp_path)
    shutil.copy(model_path / "tokenizer.json", tmp_path)
    return tmp_path, getattr(model, model.base_model_prefix, model)


def test_packed_states_equal_transformers(checkpoint):
    path, model = checkpoint
    backbone = load_backbone(path, "cpu", torch.float32)
    assert isinstance(backbone, PackedBert)
    lengths = torch.tensor([7, 1, 12, 12, 3])
    ids = torch.randint(2, 50, (int(lengths.sum()),))
    with torch.inference_mode():
        states = backbone.hidden(ids, lengths, 16)
        full = backbone.hidden(ids[:7], lengths[:1], 7)
        alone = [model(text[None]).last_hidden_state[0] for text in ids.split(lengths.tolist())]
    torch.testing.assert_close(states, torch.cat(alone), atol=1e-5, rtol=0)
    torch.testing.assert_close(full, alone[0], atol=1e-5, rtol=0)


def test_the_padded_network_gives_the_same_states(checkpoint):
    path, _ = checkpoint
    lengths = torch.tensor([5, 9, 2])
    ids = torch.randint(2, 50, (16,))
    with torch.inference_mode():
        packed = load_backbone(path, "cpu", torch.float32).hidden(ids, lengths, 16)
        padded = PaddedTransformer(path, "cpu", torch.float32).hidden(ids, lengths, 16)
    torch.testing.assert_close(padded, packed, atol=1e-5, rtol=0)


def test_an_architecture_that_is_not_packed_runs_through_transformers(tmp_path, model_path, capfd):
    import transformers

    torch.manual_seed(0)
    config = transformers.DistilBertConfig(vocab_size=50, dim=24, n_layers=1, n_heads=2, hidden_dim=32)
    model = transformers.DistilBertModel(config).eval()
    model.save_pretrained(tmp_path)
    shutil.copy(model_path / "tokenizer.json", tmp_path)
    capfd.readouterr()
    backbone = load_backbone(tmp_path, "cpu", torch.float32)
    assert capfd.readouterr() == ("", "")
    ids = torch.randint(2, 50, (9,))
    with torch.inference_mode():
        states = backbone.hidden(ids, torch.tensor([4, 5]), 8)
        expected = torch.cat([model(ids[None, :4]).last_hidden_state[0], model(ids[None, 4:]).last_hidden_state[0]])
    torch.testing.assert_close(states, expected, atol=1e-5, rtol=0)


def test_a_checkpoint_of_another_model_is_refused(model_copy):
    config = json.loads((model_copy / "config.json").read_text())
    (model_copy / "config.json").unlink()
    (model_copy / "config.json").write_text(json.dumps({**config, "model_type": "no-such-type"}))
    with pytest.raises(ModelFilesError, match="cannot load"):
        load_backbone(model_copy, "cpu", torch.float32)


def test_pooling_as_arithmetic():
    hidden = torch.tensor([[1.0, 2.0], [3.0, 6.0], [5.0, 7.0]])
    lengths = torch.tensor([2, 1])
    assert pool(hidden, lengths, "mean").tolist() == [[(1 + 3) / 2, (2 + 6) / 2], [5, 7]]
    assert pool(hidden, lengths, "cls").tolist() == [[1, 2], [5, 7]]
    assert pool(hidden, lengths, "last").tolist() == [[3, 6], [5, 7]]
