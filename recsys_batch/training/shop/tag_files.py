"""Tagged texts as JSON lines, `{"words": [...], "tags": [...]}`, one text a line."""

import json
from pathlib import Path

from recsys_batch.contracts.errors import SourceColumnsError, SourceNotFoundError
from recsys_batch.rules.metrics.spans import split_tag
from recsys_batch.training.examples.columns import TaggedTexts


def read_tags(file: str) -> TaggedTexts:
    """Return the texts of a file, blank lines passed over.

    Raises SourceNotFoundError where it is missing, SourceColumnsError naming the first line that is not of that form.
    """
    path = Path(file)
    if not path.is_file():
        raise SourceNotFoundError(f"training.tasks: {file}: no such file of tagged texts; correct the path")
    words, tags = [], []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            found, labels = [str(word) for word in row["words"]], [str(tag) for tag in row["tags"]]
            _check(found, labels)
        except (ValueError, KeyError, TypeError) as error:
            raise SourceColumnsError(
                f'{file}, line {number}: expected {{"words": [...], "tags": [...]}} with one BIO tag a word ({error})'
            ) from error
        words.append(found)
        tags.append(labels)
    return TaggedTexts(words, tags)


def _check(words: list[str], tags: list[str]) -> None:
    for tag in tags:
        split_tag(tag)
    if len(words) != len(tags):
        raise ValueError(f"{len(words)} words and {len(tags)} tags")
