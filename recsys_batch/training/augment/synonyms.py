"""Words for words of the same meaning, from lexicons that the config names: English and Chinese in one text."""

import csv
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from recsys_batch.contracts.errors import ConfigError, SourceNotFoundError
from recsys_batch.rules.texts.documents import CJK

_CJK_RUN = re.compile(f"[{CJK}]+")
_WORD = re.compile(rf"[^\W\d_{CJK}]+(?:['’\-][^\W\d_{CJK}]+)*")
_CILIN_GROUP = re.compile(r"^[A-Z][a-z]\d\d[A-Z]\d\d(?P<kind>[=#@])\s*(?P<words>.*)$")
_LONGEST_PHRASE = 3


class Lexicon:
    """Word -> its synonyms, lower case; a word of several groups has those of all."""

    def __init__(self, groups: Iterable[Sequence[str]]) -> None:
        """Keep groups of words that mean the same; those of fewer than two words say nothing."""
        found: dict[str, set[str]] = {}
        for group in groups:
            words = {word.strip().lower() for word in group if word.strip()}
            for word in words if len(words) > 1 else ():
                found.setdefault(word, set()).update(words - {word})
        self._synonyms = {word: sorted(others) for word, others in found.items()}
        self._longest_cjk = max((len(word) for word in found if _CJK_RUN.fullmatch(word)), default=0)

    @classmethod
    def load(cls, files: Sequence[Path]) -> "Lexicon":
        """Read lexicons: `.csv` with a column `synonyms` (words joined by `|`), else lines `CODE= word word` as in
        Cilin (its `#` related and `@` lone words are passed over) or plain lines of words.

        Raises SourceNotFoundError for a missing file, ConfigError for a file without a group.
        """
        groups: list[Sequence[str]] = []
        for file in files:
            if not file.is_file():
                raise SourceNotFoundError(f"lexicon {file} does not exist; correct the path, or leave it out")
            read = _read_csv(file) if file.suffix == ".csv" else _read_lines(file)
            if not read:
                raise ConfigError(
                    f"lexicon {file} holds no group of two words; see the formats that Lexicon.load reads"
                )
            groups += read
        return cls(groups)

    def __len__(self) -> int:
        """Return the number of words that have a synonym."""
        return len(self._synonyms)

    def synonyms(self, word: str) -> list[str]:
        """Return the synonyms of a word, sorted; none where it is not known."""
        return self._synonyms.get(word.lower(), [])

    def spans(self, text: str) -> list[tuple[int, int]]:
        """Return where known words begin and end, the longest first where several fit, from left to right."""
        found = []
        for run in _CJK_RUN.finditer(text):
            found += self._cjk_spans(run.group(), run.start())
        words = [match.span() for match in _WORD.finditer(text)]
        place = 0
        while place < len(words):
            for size in range(min(_LONGEST_PHRASE, len(words) - place), 0, -1):
                start, end = words[place][0], words[place + size - 1][1]
                if text[start:end].lower() in self._synonyms:
                    found.append((start, end))
                    place += size - 1
                    break
            place += 1
        return sorted(found)

    def _cjk_spans(self, run: str, offset: int) -> list[tuple[int, int]]:
        found, start = [], 0
        while start < len(run):
            for size in range(min(self._longest_cjk, len(run) - start), 1, -1):
                if run[start : start + size] in self._synonyms:
                    found.append((offset + start, offset + start + size))
                    start += size - 1
                    break
            start += 1
        return found


def replace_synonyms(text: str, share: float, lexicon: Lexicon, rng: np.random.Generator) -> str:
    """Return the text with each known word replaced by a synonym with probability `share`; a capital stays one.

    Single Chinese characters are left alone: alone they mean too many things.
    """
    made, end = [], 0
    for start, stop in lexicon.spans(text):
        if rng.random() >= share:
            continue
        word = text[start:stop]
        choices = lexicon.synonyms(word)
        chosen = choices[int(rng.integers(len(choices)))]
        made += [text[end:start], chosen.capitalize() if word[:1].isupper() else chosen]
        end = stop
    return "".join([*made, text[end:]])


def _read_csv(file: Path) -> list[Sequence[str]]:
    with file.open(encoding="utf-8-sig", newline="") as stream:
        rows = csv.DictReader(stream)
        if "synonyms" not in (rows.fieldnames or ()):
            raise ConfigError(f"lexicon {file} has no column synonyms; it has {', '.join(rows.fieldnames or ())}")
        return [words for row in rows if len(words := (row["synonyms"] or "").split("|")) > 1]


def _read_lines(file: Path) -> list[Sequence[str]]:
    groups: list[Sequence[str]] = []
    for line in file.read_text(encoding="utf-8-sig").splitlines():
        code = _CILIN_GROUP.match(line.strip())
        words = code["words"].split() if code and code["kind"] == "=" else [] if code else line.split()
        if len(words) > 1:
            groups.append(words)
    return groups
