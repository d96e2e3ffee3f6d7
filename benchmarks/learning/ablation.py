"""What each part of training adds: augmentation, adversarial steps, hard negatives, adapters, R-Drop, on two tasks.

Every part is compared with the same recipe without it, over several seeds; nothing is chosen by the test part. Prints a
JSON line a run and tables at the end. Runs are kept in a file below `--out`: a comparison that was stopped goes on.
"""

import argparse
import hashlib
import json
import logging
import statistics
import sys
from pathlib import Path

import numpy as np
import torch

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from benchmarks.learning.ablation_runs import VARIANTS, Bench, Size  # noqa: E402
from recsys_batch.rules.metrics.paired_tests import paired_bootstrap  # noqa: E402

MAIN = {"tagging": "f1", "search": "ndcg@10"}
Run = dict[str, object]


def main() -> None:
    """Parse, run what is not there yet, print tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--out", type=Path, default=ROOT / "lake" / "models" / "ablation")
    parser.add_argument("--seed", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--task", nargs="+", choices=list(VARIANTS), default=list(VARIANTS))
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--quick", action="store_true", help="one seed, one short epoch: does everything run?")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(message)s")
    torch.set_num_threads(options.threads)
    size = Size(tagging_texts=256, tagging_epochs=1, search_epochs=1) if options.quick else Size()
    seeds = options.seed[:1] if options.quick else options.seed
    options.out.mkdir(parents=True, exist_ok=True)
    file = options.out / "runs.jsonl"
    bench, runs = Bench(options.data, size), read_runs(file)
    # Seed by seed, so that a comparison that was stopped has every variant about as often.
    plan = [(task, name, seeds[0]) for task in options.task if task == "search" for name in ("untuned",)]
    plan += [(task, name, seed) for seed in seeds for task in options.task for name in VARIANTS[task]]
    for task, name, seed in plan:
        key = hashlib.sha256(f"{bench.describe(task, name)} {seed}".encode()).hexdigest()[:16]
        if key not in runs:
            outcome = bench.run(task, name, seed)
            runs[key] = {
                "key": key, "task": task, "variant": name, "seed": seed, **outcome.figures, "cases": outcome.cases,
            }  # fmt: skip
            append_run(file, runs[key])
        print(
            json.dumps({field: value for field, value in runs[key].items() if field not in ("key", "cases")}),
            flush=True,
        )
        runs[key]["wanted"] = True
    for task in options.task:
        print_table(task, [run for run in runs.values() if run.get("wanted") and run["task"] == task])


def read_runs(file: Path) -> dict[str, Run]:
    """Return the runs of the file by their key; a line that a kill cut off is passed over."""
    runs: dict[str, Run] = {}
    for line in file.read_text(encoding="utf-8").splitlines() if file.is_file() else ():
        try:
            run = json.loads(line)
        except ValueError:
            continue
        runs[run["key"]] = run
    return runs


def append_run(file: Path, run: Run) -> None:
    """Add a run to the file, on a line of its own whatever a kill left at the end."""
    is_torn = file.is_file() and not file.read_bytes().endswith(b"\n")
    with file.open("a", encoding="utf-8") as stream:
        stream.write(("\n" if is_torn else "") + json.dumps(run) + "\n")


def print_table(task: str, runs: list[Run]) -> None:
    """Print mean and standard deviation over seeds of every variant, and its difference to the plain recipe."""
    metrics = [MAIN[task]] + (["ndcg@10 typos", "drop"] if task == "search" else ["valid_f1"])
    print(f"\n| {task} | runs | " + " | ".join(metrics) + f" | {MAIN[task]} minus plain | seconds |")
    print("|---|---|" + "---|" * (len(metrics) + 2))
    plain = {run["seed"]: run for run in runs if run["variant"] == "plain"}
    for name in dict.fromkeys(str(run["variant"]) for run in runs):
        rows = [run for run in runs if run["variant"] == name]
        cells = [show_spread([float(run[metric]) for run in rows]) for metric in metrics]
        seconds = statistics.mean(float(run.get("seconds", 0.0)) for run in rows)
        pairs = [(run, plain[run["seed"]]) for run in rows if name != "plain" and run["seed"] in plain]
        print(f"| {name} | {len(rows)} | " + " | ".join([*cells, show_gap(task, pairs), f"{seconds:.0f}"]) + " |")


def show_spread(values: list[float]) -> str:
    """Return mean and standard deviation."""
    return f"{statistics.mean(values):.4f}" + (f" ± {statistics.stdev(values):.4f}" if len(values) > 1 else "")


def show_gap(task: str, pairs: list[tuple[Run, Run]]) -> str:
    """Return the mean difference of runs of the same seed: with a 95% interval over queries where there are such
    values, else with the smallest and largest difference.
    """
    if not pairs:
        return ""
    gaps = [float(run[MAIN[task]]) - float(plain[MAIN[task]]) for run, plain in pairs]
    if pairs[0][0]["cases"]:
        cases_Q = np.mean([np.array(run["cases"]) - np.array(plain["cases"]) for run, plain in pairs], axis=0)
        interval = paired_bootstrap(cases_Q)
        low, high = interval.low, interval.high
    else:
        low, high = min(gaps), max(gaps)
    return f"{statistics.mean(gaps):+.4f} [{low:+.4f}, {high:+.4f}]"


if __name__ == "__main__":
    main()
