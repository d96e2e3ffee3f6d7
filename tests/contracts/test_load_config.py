"""Reading a config file: what is refused, and how clearly; what variables and overrides do; what the hash covers."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from recsys_batch.contracts.columns import EVENT_TYPES, Inputs
from recsys_batch.contracts.config.load import hash_config, load_config
from recsys_batch.contracts.config.night import Config
from recsys_batch.contracts.errors import ConfigError, SourceColumnsError

MINIMAL = """
sources:
  events:
    - format: parquet
      path: events
      select: {user_id: u, event_type: "'view'", event_time: t}
  items:
    - format: parquet
      path: items
      select: {item_id: i, title: t}
"""
CONF = Path(__file__).resolve().parents[2] / "conf"

Write = Callable[[str], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write a config file and return its path."""

    def write_file(text: str) -> Path:
        path = tmp_path / "shop.yaml"
        path.write_text(text, encoding="utf-8")
        return path

    return write_file


def refusal(path: Path, *overrides: str, env: dict[str, str] | None = None) -> str:
    with pytest.raises(ConfigError) as caught:
        load_config(path, overrides, env={} if env is None else env)
    return str(caught.value)


def test_a_minimal_file_gets_the_documented_defaults(write: Write) -> None:
    config = load_config(write(MINIMAL), env={})
    assert config.name == "shop"
    assert config.rerank.top_n == 20
    assert config.prepare.lookback_days == 365
    assert config.sources.events[0].select == {"user_id": "u", "event_type": "'view'", "event_time": "t"}
    assert config.sources.reviews == []


@pytest.mark.parametrize(
    ("block", "dotted", "suggestion"),
    [
        ("rernk: {top_n: 5}", "rernk", "did you mean 'rerank'?"),
        ("rerank: {topn: 5}", "rerank.topn", "did you mean 'top_n'?"),
        ("retrieve: {content: {wieght: 1}}", "retrieve.content.wieght", "did you mean 'weight'?"),
        (
            "training: {loop: {optimizer: {learing_rate: 1}}}",
            "training.loop.optimizer.learing_rate",
            "did you mean 'learning_rate'?",
        ),
        ("training: {adapter: {rnk: 1}}", "training.adapter.rnk", "did you mean 'rank'?"),
        (
            "training: {tasks: [{kind: category}, {kind: query_items, negatives: {hrd: 1}}]}",
            "training.tasks.1.query_items.negatives.hrd",
            "did you mean 'hard'?",
        ),
        ("pretrain: {texts: [{path: a, colums: [b]}]}", "pretrain.texts.0.colums", "did you mean 'columns'?"),
        ("tune: {metric: a.b, space: {seed: {low: 1, high: 2}}, trails: 3}", "tune.trails", "did you mean 'trials'?"),
        ("lists: {zzz: 1}", "lists.zzz", "known keys: users, similar_items, queries, requests"),
    ],
)
def test_an_unknown_key_is_named_with_its_path_and_a_suggestion(
    write: Write, block: str, dotted: str, suggestion: str
) -> None:
    path = write(f"{MINIMAL}{block}\n")
    assert refusal(path) == f"{path}: {dotted}: unknown key; {suggestion}"


def test_an_unknown_key_within_a_list_is_named_with_its_position(write: Write) -> None:
    path = write(MINIMAL.replace("path: items", "path: items\n      pth: other"))
    assert refusal(path) == f"{path}: sources.items.0.pth: unknown key; did you mean 'path'?"


@pytest.mark.parametrize(
    ("block", "dotted", "value"),
    [
        ('rerank: {top_n: "10"}', "rerank.top_n", "'10'"),
        ("rerank: {top_n: 0}", "rerank.top_n", "0"),
        ("rerank: {top_n: 2.5}", "rerank.top_n", "2.5"),
        ("rerank: {allow_repeats: 1}", "rerank.allow_repeats", "1"),
        ("rerank: 3", "rerank", "3"),
        ("prepare: {half_life_days: 0}", "prepare.half_life_days", "0"),
        ("prepare: {id_case: UPPER}", "prepare.id_case", "'UPPER'"),
        ("prepare: {event_weights: {veiw: 1}}", "prepare.event_weights.veiw", "'veiw'"),
        ("encoder: {device: tpu}", "encoder.device", "'tpu'"),
        ("retrieve: {position_half_life: .nan}", "retrieve.position_half_life", "nan"),
        ("retrieve: {content: {weight: .inf}}", "retrieve.content.weight", "inf"),
        ("gates: {min_full_share: 1.5}", "gates.min_full_share", "1.5"),
        ("item_text: {fields: []}", "item_text.fields", "[]"),
        ("lake: {catalog_schema: a.b.c}", "lake.catalog_schema", "'a.b.c'"),
        ("name: my-shop", "name", "'my-shop'"),
        ("training: {model: a/b}", "training.model", "'a/b'"),
        ("training: {tasks: [{kind: rating, low: x}]}", "training.tasks.0.rating.low", "'x'"),
        ("tune: {space: {}, metric: a.b}", "tune.space", "{}"),
        ("training: {tasks: [{kind: stars}]}", "training.tasks.0", "{'kind': 'stars'}"),
    ],
)
def test_a_wrong_value_is_named_with_its_path(write: Write, block: str, dotted: str, value: str) -> None:
    path = write(f"{MINIMAL}{block}\n")
    message = refusal(path)
    assert message.startswith(f"{path}: {dotted}")
    assert message.endswith(f"(got {value})")


def test_a_whole_number_is_fine_where_a_fraction_is_asked_for(write: Write) -> None:
    assert load_config(write(f"{MINIMAL}prepare: {{half_life_days: 30}}\n"), env={}).prepare.half_life_days == 30.0


def test_missing_blocks_and_keys_are_all_named_at_once(write: Write) -> None:
    path = write("name: shop\n")
    assert refusal(path) == f"{path}: sources: required, but missing"
    path = write("sources: {events: [{path: x}]}\nsede: 1\n")
    assert refusal(path).splitlines() == [
        f"{path}: sources.events.0.format: required, but missing",
        f"{path}: sources.events.0.select: required, but missing",
        f"{path}: sources.items: required, but missing",
        f"{path}: sede: unknown key; did you mean 'seed'?",
    ]


@pytest.mark.parametrize(("text", "kind"), [("", "NoneType"), ("- a\n", "list"), ("shop\n", "str")])
def test_a_file_that_holds_no_mapping_is_refused(write: Write, text: str, kind: str) -> None:
    assert f"not {kind}" in refusal(write(text))


def test_what_cannot_be_read_as_yaml_is_a_config_error(write: Write, tmp_path: Path) -> None:
    assert "not readable as YAML" in refusal(write("sources: [\n"))
    assert "not readable as YAML" in refusal(tmp_path)
    latin = tmp_path / "latin.yaml"
    latin.write_bytes(b"name: caf\xe9\n")
    assert "not readable as YAML" in refusal(latin)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "nowhere.yaml"
    assert refusal(path).startswith(f"{path}: no such config file")


def test_a_path_below_a_file_is_a_config_error_too(write: Write) -> None:
    assert "no such config file" in refusal(write(MINIMAL) / "shop.yaml")


def test_a_key_that_stands_twice_is_refused_with_its_line(write: Write) -> None:
    message = refusal(write("name: a\nseed: 1\nname: b\n"))
    assert "'name' stands twice" in message
    assert "line 3" in message
    assert "'top_n' stands twice" in refusal(write(f"{MINIMAL}rerank:\n  top_n: 1\n  top_n: 2\n"))


# --- columns of the sources -------------------------------------------------------------------------------------------


def test_a_missing_required_column_is_a_source_columns_error(write: Write) -> None:
    path = write(MINIMAL.replace("user_id: u, ", ""))
    with pytest.raises(SourceColumnsError) as caught:
        load_config(path, env={})
    assert str(caught.value) == f"{path}: sources.events.0.select lacks the required column 'user_id'"


def test_a_misspelled_column_is_a_source_columns_error(write: Write) -> None:
    path = write(MINIMAL.replace("item_id: i, title: t", "item_id: i, title: t, brnad: b"))
    with pytest.raises(SourceColumnsError) as caught:
        load_config(path, env={})
    assert str(caught.value).startswith(
        f"{path}: sources.items.0.select names the unknown column 'brnad'; known: item_id, "
    )


def test_the_second_source_of_a_table_is_checked_as_well(write: Write) -> None:
    second = "    - {format: csv, path: more, select: {item_id: i}}\n"
    path = write(MINIMAL + second)
    with pytest.raises(SourceColumnsError, match=r"sources\.items\.1\.select lacks the required column 'title'"):
        load_config(path, env={})


# --- ${VARIABLES} -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "env", "read"),
    [
        ("${D}/e", {"D": "/data"}, "/data/e"),
        ("${D:-/other}/e", {"D": "/data"}, "/data/e"),
        ("${D:-/other}/e", {}, "/other/e"),
        ("${D:-/other}/e", {"D": ""}, "/other/e"),
        ("${D:-}/e", {}, "/e"),
        ("${D:-s3://b/a-b}/e", {}, "s3://b/a-b/e"),
        ("${A}/${B:-b}/${A}", {"A": "a"}, "a/b/a"),
        ("$D/{ds}/${1}", {"D": "/data"}, "$D/{ds}/${1}"),
        ("${D}", {"D": "${E}", "E": "no"}, "${E}"),
    ],
)
def test_variables_expand(write: Write, written: str, env: dict[str, str], read: str) -> None:
    path = write(MINIMAL.replace("path: events", f'path: "{written}"'))
    assert load_config(path, env=env).sources.events[0].path == read


def test_the_process_environment_is_the_default(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECSYS_TEST_DATA", "/from/process")
    path = write(MINIMAL.replace("path: events", "path: ${RECSYS_TEST_DATA}"))
    assert load_config(path).sources.events[0].path == "/from/process"


def test_an_unset_variable_without_default_names_file_variable_and_remedy(write: Write) -> None:
    path = write(MINIMAL.replace("path: events", "path: ${NOT_SET}"))
    message = refusal(path)
    assert message.startswith(f"{path}: ")
    assert "the environment variable NOT_SET is not set" in message
    assert "${NOT_SET:-default}" in message


def test_an_unset_variable_is_named_with_the_dotted_path(write: Write) -> None:
    path = write(MINIMAL.replace("path: events", "path: ${NOT_SET}"))
    assert "sources.events.0.path" in refusal(path)


# --- --set overrides --------------------------------------------------------------------------------------------------


def test_overrides_reach_blocks_that_the_file_has_and_that_it_lacks(write: Write) -> None:
    path = write(f"{MINIMAL}rerank: {{top_n: 5, category_cap: 2}}\n")
    config = load_config(
        path, ["rerank.top_n=7", "retrieve.content.candidates=9", "lists.users=false", "seed=3"], env={}
    )
    assert (config.rerank.top_n, config.rerank.category_cap) == (7, 2)
    assert config.retrieve.content.candidates == 9
    assert config.lists.users is False
    assert config.seed == 3


def test_overrides_reach_into_lists(write: Write) -> None:
    path = write(f"{MINIMAL}item_text: {{fields: [title, brand]}}\n")
    config = load_config(path, ["sources.items.0.path=elsewhere", "item_text.fields.1=category"], env={})
    assert config.sources.items[0].path == "elsewhere"
    assert config.item_text.fields == ["title", "category"]


def test_the_value_of_an_override_is_yaml_and_may_hold_equal_signs_and_variables(write: Write) -> None:
    overrides = ["item_text.fields=[brand, title]", "rerank.where=price = 3 AND a = 'b'", "lake.root=${LAKE}/x"]
    config = load_config(write(MINIMAL), overrides, env={"LAKE": "/lake"})
    assert config.item_text.fields == ["brand", "title"]
    assert config.rerank.where == "price = 3 AND a = 'b'"
    assert config.lake.root == "/lake/x"


def test_the_last_of_two_overrides_wins(write: Write) -> None:
    assert load_config(write(MINIMAL), ["seed=1", "seed=2"], env={}).seed == 2


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("rerank.top_n", "expected dotted.path=value"),
        ("=3", "expected dotted.path=value"),
        ("rerank.top_n={a: 1", "the value is no YAML"),
        ("seed.x=1", "seed is a value, not a block"),
        ("name.x.y=1", "name is a value, not a block"),
        ("sources.events.1.path=x", "'1' is no position in a list of 1"),
        ("sources.events.-1.path=x", "'-1' is no position in a list of 1"),
        ("sources.events.first.path=x", "'first' is no position in a list of 1"),
        ("sources.events.7=x", "'7' is no position in a list of 1"),
        ("rerank.topn=3", "rerank.topn: unknown key; did you mean 'top_n'?"),
        ("rerank.top_n=many", "rerank.top_n"),
        ("item_text.fields.0.x=1", "item_text.fields.0 is a value, not a block"),
    ],
)
def test_a_wrong_override_is_a_config_error_that_says_what_is_wrong(write: Write, override: str, says: str) -> None:
    path = write(f"{MINIMAL}seed: 1\nname: shop\nitem_text: {{fields: [title]}}\n")
    assert says in refusal(path, override)


# --- identity of a config ---------------------------------------------------------------------------------------------


def test_the_lake_is_named_after_the_config_unless_given(write: Write) -> None:
    assert load_config(write(MINIMAL), env={}).lake.root == "lake/shop"
    assert load_config(write(MINIMAL), ["name=other"], env={}).lake.root == "lake/other"
    config = load_config(write(f"{MINIMAL}lake: {{catalog_schema: shop_db}}\n"), env={})
    assert (config.lake.root, config.lake.catalog_schema) == ("lake/shop", "shop_db")
    assert load_config(write(f"{MINIMAL}lake: {{root: s3a://b/l}}\n"), env={}).lake.root == "s3a://b/l"


def test_a_loaded_config_cannot_be_changed(write: Write) -> None:
    config = load_config(write(MINIMAL), env={})
    with pytest.raises(ValidationError, match="frozen"):
        config.rerank.top_n = 3


def test_the_hash_says_what_is_computed_not_where_it_is_written(write: Write) -> None:
    path = write(MINIMAL)
    plain = hash_config(load_config(path, env={}))
    assert len(bytes.fromhex(plain)) == 32
    assert hash_config(load_config(path, ["lake.root=/elsewhere"], env={})) == plain
    # Training data is made from what the night left, and models from that; they change nothing there.
    assert hash_config(load_config(path, ["datasets.max_position=9"], env={})) == plain
    assert hash_config(load_config(path, ["compress.steps.student.layers=2"], env={})) == plain
    assert hash_config(load_config(path, ["training.loop.epochs=9"], env={})) == plain
    assert hash_config(load_config(path, ["pretrain.loop.epochs=9"], env={})) == plain
    assert hash_config(load_config(path, ["tracking.mlflow.enabled=true"], env={})) == plain
    search = ["tune.metric=search.ndcg@10", "tune.space={loop.r_drop: {low: 0, high: 1}}"]
    assert hash_config(load_config(path, search, env={})) == plain
    assert hash_config(load_config(path, ["label.count=9"], env={})) == plain
    assert hash_config(load_config(path, ["maintain.keep_nights=3"], env={})) == plain
    assert hash_config(load_config(path, ["forget.key_with=KEY"], env={})) == plain
    # Writing a default out, and the order of keys, change nothing.
    assert hash_config(load_config(path, ["rerank.top_n=20", "seed=0"], env={})) == plain
    events, items = MINIMAL.split("  items:")
    swapped = f"sources:\n  items:{items}{events.removeprefix(chr(10) + 'sources:' + chr(10))}"
    assert hash_config(load_config(write(swapped), env={})) == plain


@pytest.mark.filterwarnings("ignore:Pydantic serializer warnings")
def test_the_hash_changes_with_every_other_key(write: Write) -> None:
    config = load_config(write(MINIMAL), env={})
    variants = {
        dotted: hash_config(changed)
        for dotted, changed in changed_copies(config)
        if dotted != "tune"
        and not dotted.startswith(
            (
                "lake.",
                "datasets.",
                "ranker_training.",
                "training.",
                "pretrain.",
                "tracking.",
                "label.",
                "compress.",
                "maintain.",
                "forget.",
            )
        )
    }
    # One of each block, so that a walk that finds nothing fails.
    assert {
        "name",
        "seed",
        "sources.reviews",
        "encoder.model",
        "retrieve.content.weight",
        "gates.min_full_share",
    } <= set(variants)
    assert len({*variants.values(), hash_config(config)}) == len(variants) + 1


def test_the_hash_changes_with_the_sources(write: Write) -> None:
    path = write(MINIMAL)
    overrides = ["sources.items.0.path=b", "sources.items.0.where=x > 1", "sources.items.0.select.title=UPPER(t)"]
    hashes = {hash_config(load_config(path, [override] if override else [], env={})) for override in ["", *overrides]}
    assert len(hashes) == 1 + len(overrides)


def changed_copies(block: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield (dotted path, copy of the block in which only that leaf differs)."""
    for name in type(block).model_fields:
        value = getattr(block, name)
        if isinstance(value, BaseModel):
            for dotted, changed in changed_copies(value, f"{prefix}{name}."):
                yield dotted, block.model_copy(update={name: changed})
        else:
            yield f"{prefix}{name}", block.model_copy(update={name: another(value)})


def another(value: Any) -> Any:
    match value:
        case bool():
            return not value
        case int() | float():
            return value + 1
        case str():
            return f"{value}x"
        case list():
            return value[1:] if value else ["x"]
        case None:
            return "x"
        case dict():
            return {**value, "view": 0.123}
    raise TypeError(f"no other value is known for {value!r}")


# --- the configs of the repository ------------------------------------------------------------------------------------


def test_the_repository_ships_configs() -> None:
    assert list(CONF.glob("*.yaml"))


@pytest.mark.parametrize("path", sorted(CONF.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_config_of_the_repository_loads_without_any_variable_set(path: Path) -> None:
    config = load_config(path, env={})
    assert isinstance(config, Config)
    assert config.name == path.stem
    assert config.lake.root == f"lake/{path.stem}"


def test_the_minimal_config_is_short_and_takes_its_files_from_one_folder() -> None:
    path = CONF / "minimal.yaml"
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 30
    sources = load_config(path, env={"SHOP": "/shop"}).sources
    assert [source.path for source in (*sources.events, *sources.items)] == ["/shop/events.csv", "/shop/items.csv"]


def test_the_shop_of_the_page_on_own_data_is_a_whole_config(tmp_path: Path) -> None:
    page = (CONF.parent / "docs/own-data.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    path = tmp_path / "laden.yaml"
    path.write_text(block, encoding="utf-8")
    config = load_config(path, env={})
    assert config.prepare.timezone == "Europe/Berlin"
    assert config.sources.items[0].read_as["price"] == "decimal_comma"


def test_the_page_on_own_data_names_every_input_column() -> None:
    page = (CONF.parent / "docs/own-data.md").read_text(encoding="utf-8")
    columns = page.partition("## Columns")[2].partition("\n## ")[0]
    for table in ("events", "items", "reviews"):
        named = ", ".join(re.findall(rf"^\| {table} \| (.*?) \|", columns, re.MULTILINE))
        assert sorted(re.findall(r"\w+", named)) == sorted(Inputs.TYPES[table])
        assert sorted(re.findall(r"\*\*(\w+)\*\*", named)) == sorted(Inputs.REQUIRED[table])
    assert re.findall(r"`(\w+)`", columns.partition("Event types:")[2]) == list(EVENT_TYPES)


@pytest.mark.parametrize(
    ("block", "said"),
    [
        ("search: {language: klingon}", "search.language"),
        ("search: {b: 1.5}", "search.b"),
        ("search: {spelling: {one_edit_from: 9}}", "two_edits_from 8 is below one_edit_from 9"),
        (
            "search: {fields: {title: 0, brand: 0, category: 0, description: 0, attributes: 0}}",
            "every field counts 0",
        ),
    ],
)
def test_search_settings_that_make_no_sense_are_refused(write: Write, block: str, said: str) -> None:
    assert said in refusal(write(f"{MINIMAL}{block}\n"))
