"""Amazon's Industrial & Scientific reviews: item texts, users' sequences, and the published cases of what came next.

Items are rows of `items.csv` from here on. The publishers cut all users' events at two dates: what is `valid` came
after all that is `train`, and what is `test` after both. Order within a user is all that is known of time otherwise.
"""

import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from recsys_batch.nn.scoring.sequence_model import Histories
from recsys_batch.rules.texts.clean import clean_text
from recsys_batch.training.tasks.next_item import NextItemCases, Sequences, cases_of

MAX_EVENTS = 10
"""Events of a history, as in the published cases."""


@dataclass(frozen=True)
class Part:
    """What may be learned from, and what is asked."""

    name: str
    sequences: Sequences
    """Of each user, oldest first."""
    cases: NextItemCases

    @property
    def histories(self) -> list[list[int]]:
        """The cases' items, oldest first, without padding."""
        return [[item for item in row if item >= 0] for row in self.cases.histories.items_BL.tolist()]


@dataclass(frozen=True)
class Shop:
    """The catalog and both parts: `valid` learns from train rows alone, `test` from train and valid rows."""

    item_ids: list[str]
    titles: list[str]
    """Title and brand."""
    texts: list[str]
    """The same with the description."""
    valid: Part
    test: Part


def load_shop(data: Path) -> Shop:
    """Read the three files below `data`. Raises ValueError for a history of more than `MAX_EVENTS` items."""
    folder = data / "amazon_industrial"
    items = _read(folder / "items.csv")
    item_ids = [row["item_id"] for row in items]
    index = {item_id: place for place, item_id in enumerate(item_ids)}
    titles = [", ".join(filter(None, (clean_text(row["title"]), clean_text(row["brand"])))) for row in items]
    descriptions = [clean_text(re.sub(r"^\[['\"]|['\"]\]$", "", row["description"])) for row in items]
    texts = [f"{title}. {text}" if text else title for title, text in zip(titles, descriptions, strict=True)]
    rows = sorted(_read(folder / "interactions.csv"), key=lambda row: (row["user_id"], int(row["position"])))
    train, seen = _sequences(rows, index, {"train"}), _sequences(rows, index, {"train", "valid"})
    # A valid event is predicted from all before it, valid ones included: so the published cases are made as well.
    valid = Part("valid", Sequences(train), cases_of(Sequences(seen), MAX_EVENTS, [len(row) for row in train]))
    test = Part("test", Sequences(seen), _read_cases(folder / "test_cases.csv", index))
    return Shop(item_ids, titles, texts, valid, test)


def item_counts(sequences: Sequences, num_items: int) -> np.ndarray:
    """Return how often each item occurs."""
    return np.bincount(np.concatenate([*sequences.items, np.empty(0, np.int64)]), minlength=num_items)


def to_histories(rows: Sequence[Sequence[int]]) -> Histories:
    """Return lists of items as padded histories, without kinds and times."""
    chosen = [(place, np.arange(len(row))) for place, row in enumerate(rows)]
    return Sequences([np.array(row, dtype=np.int64) for row in rows]).gather(chosen)


def _read(file: Path) -> list[dict[str, str]]:
    with file.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def _sequences(rows: list[dict[str, str]], index: dict[str, int], splits: set[str]) -> list[np.ndarray]:
    """Return one sequence a user of all rows, in the users' order; empty for who has none of these splits."""
    found: dict[str, list[int]] = {}
    for row in rows:
        events = found.setdefault(row["user_id"], [])
        if row["split"] in splits:
            events.append(index[row["item_id"]])
    return [np.array(events, dtype=np.int64) for events in found.values()]


def _read_cases(file: Path, index: dict[str, int]) -> NextItemCases:
    rows = _read(file)
    histories = [[index[item] for item in row["history_item_ids"].split()] for row in rows]
    longest = max(map(len, histories))
    if longest > MAX_EVENTS:
        raise ValueError(f"{file}: a history of {longest} items; the published ones have {MAX_EVENTS} at most")
    targets_N = torch.tensor([index[row["target_item_id"]] for row in rows]).numpy()
    return NextItemCases(to_histories(histories), targets_N)
