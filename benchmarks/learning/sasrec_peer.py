"""SASRec as RecTools trains it, for `amazon.py`; runs in an interpreter of its own that has `rectools[torch]`.

Reads a folder with `sequences.json` (lists of item ids, oldest first), `histories.json` (the same, one a case) and
`settings.json` (what SASRecModel takes, and `seed`, `k`, `threads`), and writes `top.json` there: k item ids a case,
best first. Items that training has not seen cannot be recommended, and are left out of histories.
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


def make_trainer(max_epochs: int) -> Trainer:
    """Return a quiet trainer on the CPU."""
    return Trainer(
        accelerator="cpu",
        max_epochs=max_epochs,
        min_epochs=max_epochs,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        deterministic=True,
    )


def main() -> None:
    """Fit, recommend to those who have a history of known items, write."""
    folder = Path(sys.argv[1])
    settings = json.loads((folder / "settings.json").read_text(encoding="utf-8"))
    seed, k, epochs = settings.pop("seed"), settings.pop("k"), settings.pop("epochs")
    torch.set_num_threads(settings.pop("threads"))
    sequences = json.loads((folder / "sequences.json").read_text(encoding="utf-8"))
    histories = json.loads((folder / "histories.json").read_text(encoding="utf-8"))
    known = {item for items in sequences for item in items}
    histories = [[item for item in items if item in known] for items in histories]
    told = [case for case, items in enumerate(histories) if items]
    seed_everything(seed)
    model = SASRecModel(
        **settings,
        get_trainer_func=make_trainer,
        get_trainer_func_kwargs={"max_epochs": epochs},
        use_key_padding_mask=True,
    )
    started = time.monotonic()
    model.fit(make_dataset(sequences))
    seconds = time.monotonic() - started
    found = model.recommend(told, make_dataset(histories), k, filter_viewed=False)
    found = found.sort_values([Columns.User, Columns.Rank])
    top = {int(case): rows.tolist() for case, rows in found.groupby(Columns.User)[Columns.Item]}
    content = {"seconds": seconds, "top": [top.get(case, []) for case in range(len(histories))]}
    (folder / "top.json").write_text(json.dumps(content), encoding="utf-8")


if __name__ == "__main__":
    main()
