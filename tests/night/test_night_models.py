"""Names of models in the configuration: packages and folders as they are, registered ones by their checked folder."""

from pathlib import Path

import pytest

from recsys_batch.contracts.config.load import load_config
from recsys_batch.contracts.config.night import Config
from recsys_batch.contracts.errors import ConfigError, ModelFilesError, ModelNotFoundError
from recsys_batch.contracts.model_version import ModelVersion, ModelVersionNotFoundError, ModelVersionSpoiledError
from recsys_batch.training.registry.find import find_encoder, find_model, open_registry
from recsys_batch.training.registry.versions import Registry
from tests.training.tiny_model import write_tiny_model

ROOT = Path(__file__).parent.parent.parent


def config_of(lake: str, *overrides: str) -> Config:
    return load_config(ROOT / "conf/demo.yaml", [f"lake.root={lake}", *overrides], {})


def register(registry: Registry, model: Path, seed: int = 0) -> str:
    manifest = ModelVersion("encoder", "encoder", {}, {}, {}, (), "0+0", seed)
    return registry.register(manifest, model, {}).version


def test_the_registry_lies_in_the_lake_or_where_it_is_said(tmp_path: Path) -> None:
    assert open_registry(config_of(str(tmp_path))).root == tmp_path / "models"
    assert open_registry(config_of(f"file://{tmp_path}/")).root == tmp_path / "models"
    assert open_registry(config_of("lake/x")).root == Path.cwd() / "lake/x/models"
    assert open_registry(config_of("s3://shop/lake", f"training.registry={tmp_path}")).root == tmp_path
    with pytest.raises(ConfigError, match=r"lake\.root is s3://shop/lake"):
        open_registry(config_of("s3://shop/lake"))
    with pytest.raises(ConfigError, match=r"training\.registry is hdfs://x"):
        open_registry(config_of(str(tmp_path), "training.registry=hdfs://x"))
    both = config_of("s3://shop/lake", "training.registry=/elsewhere")
    assert open_registry(both, str(tmp_path)).root == tmp_path
    with pytest.raises(ConfigError, match=r"compress\.registry is s3://x"):
        open_registry(both, "s3://x")


def test_the_champion_is_the_folder_that_workers_get(tmp_path: Path) -> None:
    lake = tmp_path / "lake"
    config = config_of(str(lake), "encoder.model=registry:encoder")
    registry = open_registry(config)
    with pytest.raises(ModelVersionNotFoundError, match="no champion"):
        find_encoder(config)
    versions = [register(registry, write_tiny_model(tmp_path / f"m{seed}", seed=seed), seed) for seed in (1, 2)]
    registry.point_to("encoder", versions[0], "first", None)
    settings, first = find_encoder(config)
    assert settings.model == str(lake / "models/encoder/versions" / versions[0] / "model")
    assert settings.revision is None
    registry.point_to("encoder", versions[1], "second", registry.champion("encoder"))
    assert find_encoder(config)[0].model.split("/")[-2] == versions[1]
    assert find_encoder(config)[1] != first
    fixed = config_of(str(lake), f"encoder.model=registry:encoder@{versions[0]}")
    assert find_encoder(fixed) == (settings, first)
    (Path(settings.model) / "config.json").write_text("{}")
    with pytest.raises(ModelVersionSpoiledError, match=r"config\.json was changed after registration"):
        find_encoder(fixed)


def test_other_names_stay_what_every_node_knows_them_by(tmp_path: Path) -> None:
    model = write_tiny_model(tmp_path / "own")
    config = config_of(str(tmp_path / "lake"), f"encoder.model={model}")
    assert find_model(config, str(model)) == model
    settings, fingerprint = find_encoder(config)
    assert settings.model == str(model)
    assert fingerprint == settings.fingerprint(model)
    with pytest.raises(ModelNotFoundError, match="needs a revision"):
        find_model(config, "some/model")
    (model / "model.safetensors").write_bytes(b"short")
    with pytest.raises(ModelFilesError, match="truncated"):
        find_model(config, str(model))
