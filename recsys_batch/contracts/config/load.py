"""Reads a config file: `${VAR:-default}` expansion, `--set a.b=c` overrides, validation, hash."""

import difflib
import hashlib
import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin

import yaml
from pydantic import BaseModel, ValidationError

from recsys_batch.contracts.config.night import Config
from recsys_batch.contracts.errors import ConfigError, SourceColumnsError

_VARIABLE = re.compile(r"\$\{([A-Za-z_]\w*)(?::-([^}]*))?\}")


class _UniqueKeyLoader(yaml.SafeLoader):
    """YAML keeps the last of two equal keys silently; a config must not."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Build a mapping, refusing a repeated key."""
        seen: set[str] = set()
        for key_node, _ in node.value:
            key = str(key_node.value)
            if key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key!r} stands twice", key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep)


def load_config(path: str | Path, overrides: Sequence[str] = (), env: Mapping[str, str] | None = None) -> Config:
    """Read, expand, override and validate the config file at `path`.

    `overrides` are `dotted.path=value` strings whose value is YAML (`rerank.top_n=10`). `env` is the environment that
    `${VAR:-default}` reads, the process's own by default. Raises ConfigError naming the file and the dotted path.
    """
    path = Path(path)
    raw = _read_yaml(path)
    raw.setdefault("name", path.stem)
    for override in overrides:
        _apply_override(raw, override)
    expanded = _expand(raw, os.environ if env is None else env, path)
    try:
        config = Config.model_validate(expanded)
    except ValidationError as error:
        raise _readable(path, error) from None
    if not config.lake.root:
        lake = config.lake.model_copy(update={"root": f"lake/{config.name}"})
        config = config.model_copy(update={"lake": lake})
    return config


_CHANGE_NO_ROW = (
    *("datasets", "ranker_training", "training", "pretrain", "tracking", "tune", "label", "compress"),
    *("maintain", "forget"),
)


def hash_config(config: Config) -> str:
    """Return the SHA-256 (hex) of everything in the config that can change a published row; not where the lake is."""
    # Datasets and models are made from what the night prepared; they change nothing in it. The model that it encodes
    # with counts by its fingerprint.
    kept = config.model_dump(mode="json", exclude={"lake": {"root"}, **dict.fromkeys(_CHANGE_NO_ROW, True)})
    # So that dates published before there were experiments or rankers are still published under the same config.
    for block in ("experiment", "ranker"):
        if kept[block] is None:
            del kept[block]
    text = json.dumps(kept, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def hash_settings(config: Config, reads: Sequence[str], but: Sequence[str] = ()) -> str:
    """Return the SHA-256 (hex) of the blocks and keys of the config at the paths `reads`, without those of `but`.

    Raises KeyError for a path that the config does not have.
    """
    dumped = config.model_dump(mode="json")
    for path in but:
        *parents, leaf = path.split(".")
        del _at(dumped, parents)[leaf]
    kept = {path: _at(dumped, path.split(".")) for path in reads}
    return hashlib.sha256(json.dumps(kept, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


def _at(dumped: Any, parts: Sequence[str]) -> Any:
    for part in parts:
        dumped = dumped[part]
    return dumped


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        loaded = yaml.load(path.read_text(encoding="utf-8"), Loader=_UniqueKeyLoader)  # noqa: S506 - a SafeLoader
    except (FileNotFoundError, NotADirectoryError):
        raise ConfigError(f"{path}: no such config file; see the conf/ folder for examples") from None
    except (yaml.YAMLError, UnicodeDecodeError, IsADirectoryError) as error:
        raise ConfigError(f"{path}: not readable as YAML: {error}") from None
    if not isinstance(loaded, dict):
        raise ConfigError(
            f"{path}: the file must hold a mapping of blocks such as `sources:`, not {type(loaded).__name__}"
        )
    return loaded


def _apply_override(raw: dict[str, Any], override: str) -> None:
    dotted, equals, text = override.partition("=")
    if not equals or not dotted.strip():
        raise ConfigError(f"--set {override}: expected dotted.path=value, such as --set rerank.top_n=10")
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"--set {override}: the value is no YAML: {error}") from None
    *parents, leaf = dotted.strip().split(".")
    node: Any = raw
    for depth, key in enumerate(parents):
        node = _child(node, key, f"--set {override}: {'.'.join(parents[: depth + 1])}")
    if isinstance(node, list):
        node[_position(node, leaf, f"--set {override}")] = value
    else:
        node[leaf] = value


def _child(node: Any, key: str, where: str) -> Any:
    if isinstance(node, list):
        child = node[_position(node, key, where)]
    else:
        child = node.setdefault(key, {})
    if not isinstance(child, dict | list):
        raise ConfigError(f"{where} is a value, not a block")
    return child


def _position(node: list[Any], key: str, where: str) -> int:
    if not key.isdigit() or int(key) >= len(node):
        raise ConfigError(f"{where}: {key!r} is no position in a list of {len(node)}")
    return int(key)


def _expand(node: Any, env: Mapping[str, str], path: Path, dotted: tuple[str, ...] = ()) -> Any:
    if isinstance(node, dict):
        return {key: _expand(value, env, path, (*dotted, str(key))) for key, value in node.items()}
    if isinstance(node, list):
        return [_expand(value, env, path, (*dotted, str(place))) for place, value in enumerate(node)]
    if not isinstance(node, str):
        return node

    def replace(match: re.Match[str]) -> str:
        name, default = match.group(1), match.group(2)
        value = env.get(name) or default
        if value is None:
            raise ConfigError(
                f"{path}: {'.'.join(dotted)}: the environment variable {name} is not set; "
                f"export it or write ${{{name}:-default}}"
            )
        return value

    return _VARIABLE.sub(replace, node)


def _readable(path: Path, error: ValidationError) -> ConfigError:
    """Turn pydantic's report into one line a fault: dotted path, value, what to do."""
    lines = []
    columns_at_fault = False
    for fault in error.errors():
        dotted = ".".join(str(part) for part in fault["loc"] if not str(part).startswith("function-"))
        if fault["type"] == "extra_forbidden":
            lines.append(f"{path}: {dotted}: unknown key{_suggest(fault['loc'])}")
        elif fault["type"] == "missing":
            lines.append(f"{path}: {dotted}: required, but missing")
        elif fault["type"] == "value_error":
            columns_at_fault = columns_at_fault or dotted == "sources"
            lines.append(f"{path}: {fault['msg'].removeprefix('Value error, ')}")
        else:
            lines.append(f"{path}: {dotted}: {fault['msg']} (got {fault['input']!r:.80})")
    return (SourceColumnsError if columns_at_fault else ConfigError)("\n".join(lines))


def _suggest(location: tuple[int | str, ...]) -> str:
    """Name the key that the misspelled one resembles most, and else the known ones."""
    block: Any = Config
    for part in location[:-1]:
        if isinstance(part, int):
            continue
        if get_origin(block) is Annotated:  # one of several blocks, which pydantic names by their kind
            block = next(
                (one for one in get_args(get_args(block)[0]) if one.model_fields["kind"].default == part), None
            )
            continue
        field = block.model_fields.get(part) if isinstance(block, type) and issubclass(block, BaseModel) else None
        block = _block_of(field.annotation) if field is not None else None
    if not (isinstance(block, type) and issubclass(block, BaseModel)):
        return ""
    known = list(block.model_fields)
    close = difflib.get_close_matches(str(location[-1]), known, n=1)
    return f"; did you mean {close[0]!r}?" if close else f"; known keys: {', '.join(known)}"


def _block_of(annotation: Any) -> Any:
    arguments = getattr(annotation, "__args__", ())
    return arguments[0] if arguments else annotation
