"""What a stage's identity covers: every setting that can change a row is some stage's, and no stage reads another's."""

import ast
from datetime import date
from itertools import pairwise
from pathlib import Path

import pytest

import recsys_batch.night
from recsys_batch.contracts.config.experiment import ARM_KEYS
from recsys_batch.contracts.config.load import hash_config, hash_settings, load_config
from recsys_batch.contracts.config.night import Config
from recsys_batch.contracts.run_facts import STAGE_NAMES
from recsys_batch.night.plan import identities_of
from recsys_batch.pipeline import STAGES
from tests.contracts.test_load_config import MINIMAL, changed_copies

DS = date(2026, 6, 30)
VERSIONS = {"prepare": {"events": "e1"}, "encode": {"encoder": "f1"}}
NAMES = [stage.name for stage in STAGES]
# Which modules of the room belong to which stage; the others know no settings.
MODULES = {
    "prepare": ("prepare", "prepare_events", "prepare_items", "inputs"),
    "encode": ("encode", "context"),
    "retrieve": ("retrieve", "index", "search"),
    "rank": ("rank",),
    "publish": ("publish", "measure"),
}


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Config:
    path = tmp_path_factory.mktemp("config") / "shop.yaml"
    path.write_text(MINIMAL)
    return load_config(path, env={})


def changed_stages(config: Config, changed: Config) -> list[str]:
    before, after = (identities_of(STAGES, each, DS, VERSIONS) for each in (config, changed))
    return [name for name in NAMES if before[name] != after[name]]


@pytest.mark.filterwarnings("ignore:Pydantic serializer warnings")
def test_every_setting_that_changes_a_row_changes_a_stage_and_all_after_it(config: Config) -> None:
    plain = hash_config(config)
    seen = 0
    for dotted, changed in changed_copies(config):
        stages = changed_stages(config, changed)
        # What changes runs to the end.
        assert stages == NAMES[len(NAMES) - len(stages) :], dotted
        if dotted != "lake.catalog_schema":
            assert bool(stages) == (hash_config(changed) != plain), dotted
        seen += bool(stages)
    assert seen > 80


@pytest.mark.parametrize(
    ("override", "first"),
    [
        ("sources.items.0.where=price > 0", "prepare"),
        ("rerank.where=price > 0", "prepare"),
        ("rerank.category_level=3", "prepare"),
        ("item_text.max_tokens=80", "prepare"),
        ("gates.max_quarantine_share=0.1", "prepare"),
        ("encoder.max_tokens=80", "encode"),
        ("lists.queries=7", "encode"),
        ("lists.similar_items=false", "retrieve"),
        ("retrieve.content.candidates=50", "retrieve"),
        ("retrieve.covisitation.shrinkage=1", "retrieve"),
        ("rerank.allow_repeats=true", "retrieve"),
        ("search.k1=0.5", "encode"),
        ("search.fields.brand=1.0", "encode"),
        ("search.spelling.enabled=false", "encode"),
        ("search.candidates=50", "retrieve"),
        ("search.acts_half_life_days=7.0", "retrieve"),
        ("search.weights.meaning=1.0", "rank"),
        ("retrieve.content.weight=0.5", "rank"),
        ("retrieve.popularity.calibration=zscore", "rank"),
        ("rerank.category_cap=2", "rank"),
        ("rerank.top_n=5", "rank"),
        ("experiment={name: x, arms: [{name: a, share: 0.5}, {name: b, share: 0.5}]}", "rank"),
        ("ranker=registry:ranker", "retrieve"),
        ("ranker.candidates=50", "retrieve"),
        ("ranker_training.trees=7", None),
        ("gates.min_full_share=0.5", "publish"),
        ("training.loop.epochs=2", None),
    ],
)
def test_the_first_stage_that_a_setting_concerns(tmp_path: Path, override: str, first: str | None) -> None:
    path = tmp_path / "shop.yaml"
    path.write_text(MINIMAL)
    stages = changed_stages(load_config(path, env={}), load_config(path, [override], env={}))
    assert stages == (NAMES[NAMES.index(first) :] if first else [])


@pytest.mark.filterwarnings("ignore:Pydantic serializer warnings")
def test_arms_may_set_what_the_stage_rank_is_the_first_to_read(config: Config) -> None:
    of_rank = {
        dotted
        for dotted, changed in changed_copies(config)
        if dotted.startswith(("retrieve.", "rerank.")) and changed_stages(config, changed)[0] == "rank"
    }
    # Only user lists have arms, and boosts are promises to suppliers.
    assert of_rank - {"retrieve.content.weight_in_similar_items", "rerank.boosts"} == set(ARM_KEYS)


def test_versions_and_the_date_change_their_stage_and_those_after_it(config: Config) -> None:
    plain = identities_of(STAGES, config, DS, VERSIONS)
    model = identities_of(STAGES, config, DS, VERSIONS | {"encode": {"encoder": "f2"}})
    assert [name for name in NAMES if plain[name] != model[name]] == NAMES[1:]
    for other in (
        identities_of(STAGES, config, DS, VERSIONS | {"prepare": {"events": "e2"}}),
        identities_of(STAGES, config, date(2026, 6, 29), VERSIONS),
    ):
        assert not set(plain.values()) & set(other.values())


def settings_read(module: str) -> set[str]:
    """The blocks of the config, or keys of them, that the module's code names."""
    source = Path(recsys_batch.night.__file__).with_name(f"{module}.py").read_text()
    blocks, names = set(Config.model_fields), set()
    tree = ast.parse(source)
    aliases = {}
    for node in ast.walk(tree):
        # gates, rules = run.config.gates, run.config.rerank
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name | ast.Tuple):
            targets = node.targets[0].elts if isinstance(node.targets[0], ast.Tuple) else [node.targets[0]]
            values = node.value.elts if isinstance(node.value, ast.Tuple) else [node.value]
            for target, value in zip(targets, values, strict=False):
                if isinstance(target, ast.Name) and (path := dotted(value)):
                    aliases[target.id] = path
    for node in ast.walk(tree):
        path = dotted(node) if isinstance(node, ast.Attribute) else ""
        head, _, rest = path.partition(".")
        path = f"{aliases[head]}.{rest}" if head in aliases else path
        parts = path.split(".")
        for before, block in pairwise(parts):
            if before == "config" and block in blocks:
                key = parts[parts.index(block) + 1] if parts[-1] != block else ""
                names.add(f"{block}.{key}" if key in type_of(block) else block)
    return names


def type_of(block: str) -> set[str]:
    annotation = Config.model_fields[block].annotation
    return set(getattr(annotation, "model_fields", ()))


def dotted(node: ast.AST) -> str:
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        before = dotted(node.value)
        return f"{before}.{node.attr}" if before else ""
    return ""


@pytest.mark.parametrize("name", NAMES)
def test_a_stage_reads_no_settings_but_its_own_and_those_of_earlier_stages(config: Config, name: str) -> None:
    until = STAGES[: NAMES.index(name) + 1]
    covered = {path for stage in until for path in stage.reads}
    found = {path for module in MODULES[name] for path in settings_read(module)}
    assert found, name
    # The whole block where a module hands it on.
    loose = {path for path in found if path not in covered and path.split(".")[0] not in covered}
    parts = {path: {one for one in covered if one.startswith(f"{path}.")} for path in loose}
    assert {path for path, known in parts.items() if not known} <= {"lake"}


def test_paths_of_the_stages_exist(config: Config) -> None:
    with pytest.raises(KeyError):
        hash_settings(config, ["rerank.top"])
    with pytest.raises(KeyError):
        hash_settings(config, ["rerank"], ["rerank.top"])


def test_the_option_knows_the_stages_by_their_names():
    assert [name for name, stage in STAGE_NAMES.items() if name == stage] == NAMES
