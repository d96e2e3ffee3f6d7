"""The registry: immutable versions, spoiled files found, one winner of two promotions."""

import json
import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from recsys_batch.contracts.errors import ConfigError
from recsys_batch.contracts.model_version import (
    AnotherPromotionWonError,
    ModelVersion,
    ModelVersionNotFoundError,
    ModelVersionSpoiledError,
)
from recsys_batch.training.registry.versions import Registry, align, name_of_folder


def manifest(seed: int = 0, name: str = "encoder") -> ModelVersion:
    return ModelVersion(
        name=name,
        kind="encoder",
        settings={"loop": {"epochs": 3}},
        data={"split": "time", "content_hash": "12ab"},
        metrics={"retrieval.ndcg@10": 0.5},
        parents=("f" * 64,),
        code_version="0.1+0000",
        seed=seed,
    )


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "trained"
    (folder / "1_Pooling").mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(b"weights")
    (folder / "1_Pooling" / "config.json").write_text("{}")
    return folder


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return Registry(tmp_path / "models")


def test_a_version_is_read_back_with_files_and_cases(registry: Registry, model: Path) -> None:
    stored = registry.register(manifest(), model, {"ndcg@10": {"q2": 1.0, "q1": 0.5}})
    again = registry.read("encoder", stored.version)
    assert again == stored
    assert set(again.files) == {"model.safetensors", "1_Pooling/config.json"}
    folder = registry.model_folder("encoder", stored.version)
    assert (folder / "model.safetensors").read_bytes() == b"weights"
    assert registry.cases("encoder", stored.version, "ndcg@10") == {"q1": 0.5, "q2": 1.0}
    assert registry.cases("encoder", stored.version, "hr@10") == {}


def test_equal_content_is_one_version_and_another_seed_another(registry: Registry, model: Path) -> None:
    first = registry.register(manifest(), model, {})
    assert registry.register(manifest(), model, {}).version == first.version
    second = registry.register(manifest(seed=1), model, {})
    assert second.version != first.version
    assert second.fingerprint == first.fingerprint
    assert sorted(registry.versions("encoder")) == sorted([first.version, second.version])


def test_a_user_is_a_case_no_more_and_the_version_stands(registry: Registry, model: Path) -> None:
    cases = {"ndcg@10": {"u1": 1.0, "u2": 0.5}, "hr@10": {"u2": 1.0}}
    first = registry.register(manifest(), model, cases)
    other = registry.register(manifest(name="ranker"), model, cases)
    assert registry.every_version() == [first, other]
    assert registry.forget_cases({"u1", "u9"}) == 2
    for each in (first, other):
        assert registry.cases(each.name, each.version, "ndcg@10") == {"u2": 0.5}
        assert registry.cases(each.name, each.version, "hr@10") == {"u2": 1.0}
        assert registry.read(each.name, each.version) == each
    assert registry.forget_cases({"u1"}) == 0
    assert Registry(model / "none").every_version() == []


def test_a_changed_file_and_a_missing_one_are_named(registry: Registry, model: Path) -> None:
    stored = registry.register(manifest(), model, {})
    weights = registry.model_folder("encoder", stored.version) / "model.safetensors"
    weights.write_bytes(b"altered")
    with pytest.raises(ModelVersionSpoiledError, match=r"model\.safetensors was changed"):
        registry.model_folder("encoder", stored.version)
    weights.unlink()
    with pytest.raises(ModelVersionSpoiledError, match=r"model\.safetensors is missing"):
        registry.model_folder("encoder", stored.version)


def test_an_edited_manifest_is_refused(registry: Registry, model: Path) -> None:
    stored = registry.register(manifest(), model, {})
    file = registry.root / "encoder" / "versions" / stored.version / "manifest.json"
    raw = json.loads(file.read_text())
    raw["metrics"]["retrieval.ndcg@10"] = 0.99
    file.write_text(json.dumps(raw))
    with pytest.raises(ModelVersionSpoiledError, match="edited"):
        registry.read("encoder", stored.version)


def test_champion_follows_the_moves(registry: Registry, model: Path) -> None:
    assert registry.champion("encoder") is None
    with pytest.raises(ModelVersionNotFoundError, match="no champion"):
        registry.champion_folder("encoder")
    first = registry.register(manifest(), model, {})
    second = registry.register(manifest(seed=1), model, {})
    one = registry.point_to("encoder", first.version, "first", None)
    two = registry.point_to("encoder", second.version, "better", one)
    assert registry.champion("encoder") == two
    assert registry.champion_folder("encoder").parent.name == second.version
    with pytest.raises(AnotherPromotionWonError):
        registry.point_to("encoder", first.version, "back", one)


def test_a_night_under_another_account_can_read_the_champion(registry: Registry, model: Path) -> None:
    before = os.umask(0o077)
    try:
        version = registry.register(manifest(), model, {}).version
        registry.point_to("encoder", version, "first", None)
    finally:
        os.umask(before)
    (pointer,) = (registry.root / "encoder" / "champions").glob("*.json")
    assert stat.S_IMODE(pointer.stat().st_mode) == 0o644


def test_of_many_promotions_at_once_one_wins(registry: Registry, model: Path) -> None:
    versions = [registry.register(manifest(seed=seed), model, {}).version for seed in range(8)]

    def move(version: str) -> bool:
        try:
            registry.point_to("encoder", version, "race", None)
        except AnotherPromotionWonError:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        won = list(pool.map(move, versions))
    assert sum(won) == 1
    champion = registry.champion("encoder")
    assert champion is not None
    assert champion.version == versions[won.index(True)]


def test_wrong_names_and_empty_models_are_refused(registry: Registry, model: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"model name '\.\./x'"):
        registry.register(manifest(name="../x"), model, {})
    with pytest.raises(ConfigError, match="metric name"):
        registry.register(manifest(), model, {"../m": {"a": 1.0}})
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match="no files"):
        registry.register(manifest(), tmp_path / "empty", {})
    with pytest.raises(ModelVersionNotFoundError, match="no version 'x'"):
        registry.read("encoder", "x")


def test_references_lead_to_the_champion_or_to_a_version(registry: Registry, model: Path) -> None:
    first = registry.register(manifest(), model, {}).version
    second = registry.register(manifest(seed=1), model, {}).version
    with pytest.raises(ModelVersionNotFoundError, match="no champion"):
        registry.resolve("registry:encoder")
    registry.point_to("encoder", second, "better", None)
    folder = registry.resolve("registry:encoder")
    assert name_of_folder(folder) == f"encoder@{second}"
    assert name_of_folder(registry.resolve(f"registry:encoder@{first}")) == f"encoder@{first}"
    assert [name_of_folder(path) for path in (model, folder.parent, Path("/model"), Path("package:x"))] == [""] * 4
    for wrong, what in (
        ("registry:../x", "model name"),
        ("registry:encoder@../../x", "version name"),
        ("registry:", "model name"),
    ):
        with pytest.raises(ConfigError, match=what):
            registry.resolve(wrong)
    with pytest.raises(ModelVersionNotFoundError, match="no version 'ffffffffffff'"):
        registry.resolve("registry:encoder@ffffffffffff")
    (folder / "model.safetensors").write_bytes(b"altered")
    with pytest.raises(ModelVersionSpoiledError, match="was changed"):
        registry.resolve("registry:encoder")


def test_align_keeps_the_common_cases_in_one_order() -> None:
    first, second = align({"b": 1.0, "a": 2.0, "z": 9.0}, {"a": 5.0, "b": 4.0, "y": 0.0})
    assert first.tolist() == [2.0, 1.0]
    assert second.tolist() == [5.0, 4.0]
