"""SASRec as RecTools trains it, for `amazon.py`; runs in an interpreter of its own that has `rectools[torch]`.

Reads a folder with `sequences.json` (lists of items, oldest first), `histories.json` (the same, one a case) and
`settings.json` (what SASRecModel takes, and `seed`, `k`, `threads`, and `epochs`, ascending: when to recommend), and
writes `top.json` there: after each of those epochs the seconds of training so far, and k items a case, best first.
Items that training has not seen cannot be recommended, and are left out of histories.
"""

import json
import sys
import time
from pathlib import Path

import pandas as pd
import torch
from pytorch_lightning import Trainer, seed_everything
from rectools import Columns
from rectools.dataset import Dataset
from rectools.models import SASRecModel


def make_dataset(sequences: list[list[int]]) -> Dataset:
    """Return interactions with one user a sequence, a second apart."""
    rows = [(user, item, 1, place) for user, items in enumerate(sequences) for place, item in enumerate(items)]
    table = pd.DataFrame(rows, columns=[Columns.User, Columns.Item, Columns.Weight, Columns.Datetime])
    table[Columns.Datetime] = pd.to_datetime(table[Columns.Datetime], unit="s")
    return Dataset.construct(table)


def make_trainer() -> Trainer:
    """Return a quiet trainer on the CPU."""
    return Trainer(
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        deterministic=True,
    )


def recommend(model: SASRecModel, histories: list[list[int]], k: int) -> list[list[int]]:
    """Return k items a history, none for an empty one; items of the history are allowed."""
    told = [case for case, items in enumerate(histories) if items]
    found = model.recommend(told, make_dataset(histories), k, filter_viewed=False)
    found = found.sort_values([Columns.User, Columns.Rank])
    top = {int(case): rows.tolist() for case, rows in found.groupby(Columns.User)[Columns.Item]}
    return [top.get(case, []) for case in range(len(histories))]


def main() -> None:
    """Fit, recommend on the way, write."""
    folder = Path(sys.argv[1])
    settings = json.loads((folder / "settings.json").read_text(encoding="utf-8"))
    seed, k, epochs = settings.pop("seed"), settings.pop("k"), settings.pop("epochs")
    torch.set_num_threads(settings.pop("threads"))
    # A sequence of one event has nothing to predict, and RecTools leaves it out with its item.
    sequences = json.loads((folder / "sequences.json").read_text(encoding="utf-8"))
    sequences = [items for items in sequences if len(items) > 1]
    known = {item for items in sequences for item in items}
    histories = json.loads((folder / "histories.json").read_text(encoding="utf-8"))
    histories = [[item for item in items if item in known] for items in histories]
    seed_everything(seed)
    model = SASRecModel(**settings, get_trainer_func=make_trainer, use_key_padding_mask=True)
    dataset = make_dataset(sequences)
    done, seconds, found = 0, 0.0, []
    for epoch in epochs:
        started = time.monotonic()
        model.fit_partial(dataset, min_epochs=epoch - done, max_epochs=epoch - done)
        seconds, done = seconds + time.monotonic() - started, epoch
        found.append({"epoch": epoch, "seconds": seconds, "top": recommend(model, histories, k)})
    (folder / "top.json").write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    main()
