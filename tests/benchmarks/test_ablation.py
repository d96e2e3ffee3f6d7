from pathlib import Path

import pytest

from benchmarks.learning.ablation import append_run, print_table, read_runs, show_gap, show_spread
from benchmarks.learning.ablation_runs import VARIANTS, Bench, Size


def run(task: str, variant: str, seed: int, value: float, cases: list[float]) -> dict[str, object]:
    main = {"f1": value, "valid_f1": value} if task == "tagging" else {"ndcg@10": value, "ndcg@10 typos": 0, "drop": 0}
    return {"key": f"{variant}{seed}", "task": task, "variant": variant, "seed": seed, **main, "cases": cases}


def test_a_file_cut_off_by_a_kill_goes_on(tmp_path: Path) -> None:
    file = tmp_path / "runs.jsonl"
    assert read_runs(file) == {}
    first, second = run("tagging", "fgm", 0, 0.5, []), run("tagging", "fgm", 1, 0.75, [])
    append_run(file, first)
    with file.open("a") as stream:
        stream.write('{"key": "torn", "ta')
    append_run(file, second)
    assert read_runs(file) == {"fgm0": first, "fgm1": second}


def test_differences_are_between_runs_of_the_same_seed(capsys: pytest.CaptureFixture[str]) -> None:
    runs = [
        run("tagging", "plain", 0, 0.5, []),
        run("tagging", "plain", 1, 0.7, []),
        run("tagging", "fgm", 0, 0.6, []),
        run("tagging", "fgm", 1, 0.72, []),
    ]
    assert show_gap("tagging", [(runs[2], runs[0]), (runs[3], runs[1])]) == "+0.0600 [+0.0200, +0.1000]"
    assert show_spread([0.5, 0.7]) == "0.6000 ± 0.1414"
    print_table("tagging", runs)
    assert "| fgm | 2 | 0.6600 ± 0.0849 | 0.6600 ± 0.0849 | +0.0600 [+0.0200, +0.1000] | 0 |" in capsys.readouterr().out


def test_queries_that_all_gain_alike_leave_no_doubt() -> None:
    plain, better = run("search", "plain", 0, 0.5, [0.4, 0.6]), run("search", "fgm", 0, 0.6, [0.5, 0.7])
    assert show_gap("search", [(better, plain)]) == "+0.1000 [+0.1000, +0.1000]"


def test_no_two_variants_share_their_runs(tmp_path: Path) -> None:
    described = [Bench(tmp_path, Size()).describe(task, name) for task in VARIANTS for name in VARIANTS[task]]
    described += [Bench(tmp_path, Size()).describe("search", "untuned")]
    described += [Bench(tmp_path, Size(search_epochs=1)).describe("search", "plain")]
    assert len(set(described)) == len(described)
