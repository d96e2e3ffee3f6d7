"""The two locks: what the night runs on is part of what is tested."""

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent


def pins(name: str) -> dict[str, str]:
    lines = (ROOT / name).read_text(encoding="utf-8").split()
    return dict(line.split("==") for line in lines)


def test_the_night_runs_on_the_versions_that_are_tested() -> None:
    run, full = pins("requirements-run.lock"), pins("requirements.lock")
    assert run.items() <= full.items()
    assert {"mypy", "pytest", "faiss-cpu", "openvino"} & run.keys() == set()


def test_the_lock_of_the_night_has_every_package_that_setup_requires() -> None:
    text = (ROOT / "setup.py").read_text(encoding="utf-8")
    block = text.split("install_requires")[1].split("extras_require")[0]
    required = re.findall(r'^\s+"([\w-]+)[^"]*",$', block, re.MULTILINE)
    assert len(required) >= 14
    assert {name.lower() for name in required} <= pins("requirements-run.lock").keys()
