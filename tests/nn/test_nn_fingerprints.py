"""Vectors that are published stay valid: what names them must not change with the code around it."""

import json
from pathlib import Path

import pytest

from recsys_batch.nn.encoder.settings import EncoderSettings
from recsys_batch.nn.files.check import check_model_files


@pytest.fixture
def fixed_files(tmp_path: Path) -> Path:
    """A model directory whose every byte is written here."""
    header = json.dumps({"w": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}).encode()
    (tmp_path / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + bytes(range(8)))
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    (tmp_path / "tokenizer.json").write_text("{}")
    check_model_files(tmp_path)
    return tmp_path


# Computed by the release before `openvino_int8`, whose settings had no `min_cosine`.
PUBLISHED = [
    ({}, "b58c389b88768a4c31547d845b0f73958d13fe4f60e2c19ca5f5821264702ca5"),
    ({"dtype": "bfloat16"}, "81fd6e189063188d8c2f4215204e16da9e656d25a7e8110e7c18aa3e6a100c76"),
    ({"dtype": "bfloat16", "backend": "openvino"}, "1c1b62e8db6704dd8b2da5f8a701dd8f407889c2e6ea2461d4cd3c7be46a58ca"),
    (
        {
            "max_tokens": 64,
            "pooling": "cls",
            "normalize": False,
            "dimensions": 1,
            "query_prefix": "q: ",
            "document_prefix": "",
        },
        "7badeb5b5bae911c159bdba0dcb04550ec18318301c491b315880e14abae4b64",
    ),
]


@pytest.mark.parametrize(("settings", "fingerprint"), PUBLISHED)
def test_fingerprints_of_published_vectors_stay(fixed_files, settings, fingerprint):
    assert EncoderSettings("any", **settings).fingerprint(fixed_files) == fingerprint
