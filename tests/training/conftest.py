"""Tiny models made by the tests."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from recsys_batch.nn.learning.text_network import TextNetwork
from tests.training.tiny_model import write_tiny_model


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Tiny products gain nothing from threads, and lose much where other processes use the cores."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model directory with seeded random weights."""
    return write_tiny_model(tmp_path_factory.mktemp("tiny_bert"))


@pytest.fixture
def tiny_network(tiny_folder: Path) -> Callable[..., TextNetwork]:
    """Loads a fresh copy of the tiny model; takes what `TextNetwork.load` takes."""

    def load(max_tokens: int = 32, **options: object) -> TextNetwork:
        return TextNetwork.load(tiny_folder, max_tokens, **options)  # type: ignore[arg-type]

    return load
