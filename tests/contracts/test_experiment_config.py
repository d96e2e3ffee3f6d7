"""What an experiment may say: which settings its arms change, and how they split the users."""

import hashlib
import json
from pathlib import Path

import pytest

from recsys_batch.contracts.config.experiment import ARM_KEYS
from recsys_batch.contracts.config.load import hash_config, load_config
from recsys_batch.contracts.config.night import Config
from recsys_batch.contracts.errors import ConfigError
from tests.contracts.test_load_config import MINIMAL


def load(folder: Path, arms: str, name: str = "capped") -> Config:
    path = folder / "shop.yaml"
    path.write_text(f"{MINIMAL}experiment: {{name: {name}, arms: [{arms}]}}\n")
    return load_config(path, env={})


def test_an_arm_changes_what_it_sets_and_nothing_else(tmp_path: Path) -> None:
    arms = "{name: a, share: 0.5}, {name: b, share: 0.5, set: {rerank.category_cap: 2, retrieve.content.weight: 3}}"
    config = load(tmp_path, arms)
    assert config.experiment is not None
    plain, changed = config.experiment.arms
    assert plain.applied_to(config.rerank, "rerank") == config.rerank
    assert plain.applied_to(config.retrieve, "retrieve") == config.retrieve
    assert changed.applied_to(config.rerank, "rerank") == config.rerank.model_copy(update={"category_cap": 2})
    content = config.retrieve.content.model_copy(update={"weight": 3})
    assert changed.applied_to(config.retrieve, "retrieve") == config.retrieve.model_copy(update={"content": content})


def test_edges_are_where_the_shares_end(tmp_path: Path) -> None:
    config = load(tmp_path, "{name: a, share: 0.5}, {name: b, share: 0.3}, {name: c, share: 0.2}")
    assert config.experiment is not None
    assert config.experiment.upper_edges() == [0.5, 0.8, 1.0]


@pytest.mark.parametrize(
    ("arms", "message"),
    [
        ("{name: a, share: 0.5}, {name: b, share: 0.4}", r"the shares add up to 0\.9; they must add up to 1"),
        ("{name: a, share: 0.5}, {name: a, share: 0.5}", "the name 'a' stands twice"),
        ("{name: a, share: 1}", "at least 2 items"),
        ("{name: a, share: 0}, {name: b, share: 1}", "greater than 0"),
        ("{name: a b, share: 0.5}, {name: b, share: 0.5}", "should match pattern"),
        (
            "{name: a, share: 0.5}, {name: b, share: 0.5, set: {rerank.category_cap: -1}}",
            r"arm b: category_cap: -1 is refused",
        ),
        (
            "{name: a, share: 0.5}, {name: b, share: 0.5, set: {retrieve.popularity.calibration: min}}",
            r"arm b: popularity.calibration: 'min' is refused",
        ),
    ],
)
def test_arms_that_do_not_fit_are_refused(tmp_path: Path, arms: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load(tmp_path, arms)


@pytest.mark.parametrize(
    "key", ["rerank.where", "rerank.category_level", "rerank.allow_repeats", "retrieve.content.candidates", "seed"]
)
def test_what_earlier_stages_read_is_no_arms_to_set(tmp_path: Path, key: str) -> None:
    with pytest.raises(ConfigError) as refused:
        load(tmp_path, f"{{name: a, share: 0.5}}, {{name: b, share: 0.5, set: {{{key}: 1}}}}")
    message = str(refused.value)
    assert f"arm b sets '{key}'" in message
    assert all(allowed in message for allowed in ARM_KEYS)


def test_the_hash_covers_the_experiment(tmp_path: Path) -> None:
    arms = "{name: a, share: 0.5}, {name: b, share: 0.5}"
    assert len({hash_config(load(tmp_path, arms, name)) for name in ("x", "y")}) == 2


def test_dates_published_before_there_were_experiments_keep_their_hash(tmp_path: Path) -> None:
    path = tmp_path / "shop.yaml"
    path.write_text(MINIMAL)
    config = load_config(path, env={})
    others = {"datasets", "training", "pretrain", "tracking", "tune", "label", "compress", "maintain", "experiment"}
    others |= {"ranker", "ranker_training", "forget"}
    dumped = config.model_dump(mode="json", exclude={"lake": {"root"}, **dict.fromkeys(others, True)})
    before = hashlib.sha256(json.dumps(dumped, sort_keys=True, ensure_ascii=False).encode()).hexdigest()
    assert hash_config(config) == before
