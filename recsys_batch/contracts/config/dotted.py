"""Values inside a block of the configuration by dotted path, such as `optimizer.learning_rate`."""

import difflib
from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from recsys_batch.contracts.errors import ConfigError

B = TypeVar("B", bound=BaseModel)


def read_path(block: BaseModel, path: str) -> Any:
    """Return the value at a dotted path; in lists a part is a position, in mappings a key that is there.

    Raises ConfigError naming the part that is unknown, and the known one that resembles it most.
    """
    node: Any = block
    parts = path.split(".")
    for depth, part in enumerate(parts):
        children = _children(node)
        if part not in children:
            close = difflib.get_close_matches(part, children, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"known here: {', '.join(children) or 'nothing'}"
            raise ConfigError(f"{'.'.join(parts[: depth + 1])}: no such setting; {hint}")
        node = children[part]
    return node


def with_values(block: B, values: Mapping[str, object]) -> B:
    """Return the block with other values at these paths, validated like a config file.

    Raises ConfigError naming the path and the value that is refused.
    """
    for path, value in values.items():
        read_path(block, path)
        try:
            block = _replace(block, path.split("."), value)
        except ValidationError as error:
            fault = error.errors()[0]
            reason = fault["msg"].removeprefix("Value error, ")
            raise ConfigError(f"{path}: {value!r} is refused: {reason}") from None
    return block


def _children(node: Any) -> dict[str, Any]:
    if isinstance(node, BaseModel):
        return {name: getattr(node, name) for name in type(node).model_fields}
    if isinstance(node, Mapping):
        return {str(key): value for key, value in node.items()}
    if isinstance(node, list | tuple):
        return {str(place): value for place, value in enumerate(node)}
    return {}


def _replace(node: Any, parts: list[str], value: object) -> Any:
    if not parts:
        return value
    children = _children(node)
    children[parts[0]] = _replace(children[parts[0]], parts[1:], value)
    if isinstance(node, BaseModel):
        return type(node).model_validate(children)
    return type(node)(children.values()) if isinstance(node, list | tuple) else children
