"""The prompts that a sentence-transformers model names for queries and documents."""

from pathlib import Path
from typing import Literal

from recsys_batch.nn.files.check import read_json

Kind = Literal["query", "document"]

# In this order, as sentence-transformers' encode_query and encode_document look for them.
_NAMES: dict[Kind, tuple[str, ...]] = {"query": ("query",), "document": ("document", "passage", "corpus")}


def read_prompt(path: Path, kind: Kind) -> str:
    """Return the prompt that the model in directory `path` names for a kind of text, else its default prompt, else "".

    Models that only describe their prefixes in words (E5, BGE) name none: set them in the config.
    Raises ModelFilesError where config_sentence_transformers.json is no JSON object.
    """
    file = path / "config_sentence_transformers.json"
    if not file.is_file():
        return ""
    config = read_json(file)
    prompts = config.get("prompts") or {}
    for name in (*_NAMES[kind], config.get("default_prompt_name")):
        if isinstance(prompts.get(name), str):
            return str(prompts[name])
    return ""
