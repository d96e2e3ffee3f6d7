import pytest
import torch
from torch import nn
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    GPT2Config,
    GPT2Model,
    T5Config,
    T5EncoderModel,
    T5ForConditionalGeneration,
)

from recsys_batch.contracts.config.training import Optimizer
from recsys_batch.training.loop.optimizers import depth_factors, make_optimizer, schedule_factor, set_rates

BERT = BertConfig(
    vocab_size=10, hidden_size=8, num_hidden_layers=3, num_attention_heads=2, intermediate_size=8, num_labels=4
)


def factors_by_name(module: nn.Module) -> dict[str, float | None]:
    factors = depth_factors([module], 0.5)
    return {name: factors.get(id(parameter)) for name, parameter in module.named_parameters()}


def test_bert_layers_learn_slower_downwards_and_its_head_stays_out() -> None:
    found = factors_by_name(nn.ModuleDict({"net": BertForSequenceClassification(BERT), "other": nn.Linear(8, 2)}))
    assert found["net.bert.embeddings.word_embeddings.weight"] == 0.5**3
    assert found["net.bert.embeddings.LayerNorm.bias"] == 0.5**3
    for layer in range(3):
        assert found[f"net.bert.encoder.layer.{layer}.attention.self.query.weight"] == 0.5 ** (2 - layer)
    assert found["net.bert.pooler.dense.weight"] == 1.0
    assert found["net.classifier.weight"] is None
    assert found["other.weight"] is None


def test_gpt_and_t5_names_are_known() -> None:
    gpt = factors_by_name(GPT2Model(GPT2Config(vocab_size=10, n_embd=8, n_layer=2, n_head=2, n_positions=8)))
    assert [gpt[name] for name in ("wte.weight", "wpe.weight", "h.0.attn.c_attn.weight", "h.1.mlp.c_fc.weight")] == [
        0.25,
        0.25,
        0.5,
        1.0,
    ]
    assert gpt["ln_f.weight"] == 1.0
    config = T5Config(vocab_size=10, d_model=8, d_kv=4, d_ff=8, num_layers=2, num_decoder_layers=2, num_heads=2)
    both = factors_by_name(T5ForConditionalGeneration(config))
    assert both["shared.weight"] == 0.25
    assert both["encoder.block.0.layer.0.SelfAttention.q.weight"] == 0.5
    assert both["decoder.block.1.layer.1.EncDecAttention.q.weight"] == 1.0
    assert factors_by_name(T5EncoderModel(config))["encoder.block.0.layer.1.DenseReluDense.wi.weight"] == 0.5


def test_a_sequence_model_from_random_weights_is_all_head() -> None:
    layer = nn.TransformerEncoderLayer(8, 2, 8, batch_first=True)
    assert set(factors_by_name(nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)).values()) == {None}


def test_adapters_learn_at_the_heads_rate() -> None:
    peft = pytest.importorskip("peft")
    lora = peft.LoraConfig(r=2, target_modules=["query"], modules_to_save=["classifier"])
    model = peft.get_peft_model(BertForSequenceClassification(BERT), lora)
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    assert any("lora_A" in name for name in trained)
    optimizer = make_optimizer(trained, [model], Optimizer(learning_rate=1e-5, head_learning_rate=1e-3))
    assert {group["base_rate"] for group in optimizer.param_groups} == {1e-3}


def test_groups_have_rate_by_depth_and_decay_by_shape() -> None:
    module = nn.ModuleDict({"net": BertForSequenceClassification(BERT)})
    named = dict(module.named_parameters())
    settings = Optimizer(learning_rate=1e-5, head_learning_rate=1e-3, layer_decay=0.5, weight_decay=0.1)
    optimizer = make_optimizer(named, [module], settings)
    group_of = {id(p): group for group in optimizer.param_groups for p in group["params"]}
    assert sorted(group_of) == sorted(map(id, named.values()))

    def rate_and_decay(name: str) -> tuple[float, float]:
        group = group_of[id(named[name])]
        return group["lr"], group["weight_decay"]

    assert rate_and_decay("net.bert.encoder.layer.1.output.dense.weight") == (0.5e-5, 0.1)
    assert rate_and_decay("net.bert.encoder.layer.1.output.dense.bias") == (0.5e-5, 0.0)
    assert rate_and_decay("net.bert.encoder.layer.2.output.LayerNorm.weight") == (1e-5, 0.0)
    assert rate_and_decay("net.classifier.weight") == (1e-3, 0.1)
    assert rate_and_decay("net.classifier.bias") == (1e-3, 0.0)


def test_rate_rises_and_falls_as_configured() -> None:
    def factors(**changes) -> list[float]:
        return [schedule_factor(step, 10, Optimizer(**changes)) for step in range(10)]

    fall = [1 - part / 8 for part in range(8)]
    assert factors(warmup_share=0.2, schedule="linear") == pytest.approx([1 / 3, 2 / 3, *fall])
    assert factors(warmup_share=0.0, schedule="constant") == [1.0] * 10
    assert factors(warmup_share=1.0, schedule="linear") == pytest.approx([(step + 1) / 11 for step in range(10)])
    cosine = factors(warmup_share=0.0, schedule="cosine")
    reference = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(reference, T_max=10)
    for factor in cosine:
        assert factor == pytest.approx(scheduler.get_last_lr()[0])
        reference.step()
        scheduler.step()


def test_rates_scale_every_group() -> None:
    optimizer = torch.optim.SGD([{"params": [nn.Parameter(torch.zeros(1))], "lr": 1.0, "base_rate": 4.0}], lr=1.0)
    set_rates(optimizer, 0.25)
    set_rates(optimizer, 0.25)
    assert optimizer.param_groups[0]["lr"] == 1.0
