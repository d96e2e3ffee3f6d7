"""Students: which layers, exact cuts, main axes, files that the encoder and sentence-transformers load, refusals."""

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from recsys_batch.contracts.config.compress import StudentShape
from recsys_batch.contracts.errors import ModelFilesError
from recsys_batch.nn.encoder.encoder import Encoder, EncoderSettings
from recsys_batch.nn.learning.student import StudentShapeError, choose_layers, main_axes, make_student
from recsys_batch.nn.learning.text_network import TextNetwork

TEXTS = ["steel relay kit", "USB-C charger", "waterproof naïve relay", "kit for steel", "棉质衬衫", "a relay, a kit"]


@pytest.mark.parametrize(
    ("num_layers", "kept", "expected"),
    [(6, 3, [0, 3, 5]), (6, 2, [0, 5]), (6, 1, [5]), (12, 4, [0, 4, 7, 11]), (6, 6, [0, 1, 2, 3, 4, 5])],
)
def test_layers_from_the_first_to_the_last(num_layers: int, kept: int, expected: list[int]) -> None:
    assert choose_layers(num_layers, kept) == expected


def test_fewer_layers_are_the_teachers_own(model_path: Path, tmp_path: Path) -> None:
    make_student(model_path, tmp_path / "student", StudentShape(layers=2))
    teacher, student = TextNetwork.load(model_path).eval(), TextNetwork.load(tmp_path / "student").eval()
    teacher.model.encoder.layer = teacher.model.encoder.layer[:1].append(teacher.model.encoder.layer[5])
    batch = teacher.tokenize(TEXTS)
    with torch.no_grad():
        assert torch.equal(teacher.embed(batch), student.embed(batch))
    assert json.loads((tmp_path / "student" / "config.json").read_text())["num_hidden_layers"] == 2


def test_neurons_that_stay_are_those_of_the_greatest_norm(model_path: Path, tmp_path: Path) -> None:
    make_student(model_path, tmp_path / "student", StudentShape(neurons=1000))
    teacher, student = TextNetwork.load(model_path).eval(), TextNetwork.load(tmp_path / "student").eval()
    with torch.no_grad():
        for layer in teacher.model.encoder.layer:
            made, read = layer.intermediate.dense, layer.output.dense
            weights = [np.concatenate([made.weight[i].numpy(), read.weight[:, i].numpy()]) for i in range(1536)]
            weakest = np.argsort([(row.astype(np.float64) ** 2).sum() for row in weights])[:536]
            made.weight[weakest], made.bias[weakest] = 0.0, 0.0
        batch = teacher.tokenize(TEXTS)
        assert torch.allclose(teacher.embed(batch), student.embed(batch), atol=1e-6)
    assert student.model.encoder.layer[0].intermediate.dense.weight.shape == (1000, 384)


def test_main_axes_keep_the_most_of_the_squares() -> None:
    rows_TH = torch.randn(50, 8, generator=torch.Generator().manual_seed(0)) * torch.arange(1.0, 9.0)
    axes_HW = main_axes(rows_TH, 3)
    assert torch.allclose(axes_HW.T @ axes_HW, torch.eye(3), atol=1e-5)
    singular = np.linalg.svd(rows_TH.numpy(), compute_uv=False)
    assert float(((rows_TH @ axes_HW) ** 2).sum()) == pytest.approx(float((singular[:3] ** 2).sum()), rel=1e-5)
    assert torch.equal(main_axes(rows_TH, 3), axes_HW)


def test_a_truncated_width_is_a_slice_of_everything(tmp_path: Path, tiny_teacher: Path) -> None:
    make_student(tiny_teacher, tmp_path / "cut", StudentShape(width=8, projection="truncate"))
    tensors, cut = load_file(tiny_teacher / "model.safetensors"), load_file(tmp_path / "cut" / "model.safetensors")
    word = "embeddings.word_embeddings.weight"
    assert torch.equal(cut[word], tensors[word][:, :8])
    layer = "encoder.layer.1."
    assert torch.equal(cut[f"{layer}output.dense.weight"], tensors[f"{layer}output.dense.weight"][:8])
    assert torch.equal(cut[f"{layer}output.LayerNorm.weight"], tensors[f"{layer}output.LayerNorm.weight"][:8])
    # One of two heads stays, the one with the greater norm over its query, key, value and output weights.
    query = tensors[f"{layer}attention.self.query.weight"]
    norms = [
        sum(
            float((tensors[f"{layer}attention.self.{part}.weight"][rows] ** 2).sum())
            for part in ("query", "key", "value")
        )
        + float((tensors[f"{layer}attention.output.dense.weight"][:, rows] ** 2).sum())
        for rows in (slice(0, 8), slice(8, 16))
    ]
    kept = slice(0, 8) if norms[0] >= norms[1] else slice(8, 16)
    assert torch.equal(cut[f"{layer}attention.self.query.weight"], query[kept][:, :8])
    assert json.loads((tmp_path / "cut" / "config.json").read_text())["num_attention_heads"] == 1


def test_projected_linear_layers_give_the_coordinates_of_what_they_gave(tmp_path: Path, tiny_teacher: Path) -> None:
    make_student(tiny_teacher, tmp_path / "pca", StudentShape(width=8), TEXTS)
    tensors, cut = load_file(tiny_teacher / "model.safetensors"), load_file(tmp_path / "pca" / "model.safetensors")
    word = "embeddings.word_embeddings.weight"
    axes_HW = torch.linalg.lstsq(tensors[word], cut[word]).solution
    assert torch.allclose(axes_HW.T @ axes_HW, torch.eye(8), atol=1e-4)
    # A state on the axes goes through the first feed-forward product as it did.
    state_W = torch.randn(8, generator=torch.Generator().manual_seed(1))
    name = "encoder.layer.0.intermediate.dense.weight"
    assert torch.allclose(cut[name] @ state_W, tensors[name] @ (axes_HW @ state_W), atol=1e-4)
    name = "encoder.layer.0.output.dense.weight"
    inner_I = torch.randn(32, generator=torch.Generator().manual_seed(2))
    assert torch.allclose(cut[name] @ inner_I, axes_HW.T @ (tensors[name] @ inner_I), atol=1e-4)


def test_encoder_and_sentence_transformers_load_it_and_agree(model_path: Path, tmp_path: Path) -> None:
    from sentence_transformers import SentenceTransformer

    make_student(model_path, tmp_path / "student", StudentShape(layers=2, neurons=512, width=192), TEXTS)
    ours = Encoder.load(EncoderSettings(str(tmp_path / "student")), num_threads=1).encode(TEXTS)
    theirs = SentenceTransformer(str(tmp_path / "student"), device="cpu", local_files_only=True).encode(TEXTS)
    assert ours.shape == (len(TEXTS), 192)
    assert np.abs(ours - theirs).max() < 1e-5


def test_the_same_arguments_give_the_same_bytes(model_path: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        make_student(model_path, tmp_path / name, StudentShape(layers=1, width=64), TEXTS)
    one, two = (
        {
            f.relative_to(root).as_posix(): hashlib.sha256(f.read_bytes()).hexdigest()
            for f in root.rglob("*")
            if f.is_file()
        }
        for root in (tmp_path / "one", tmp_path / "two")
    )
    assert one == two


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ({"layers": 7}, "student.layers is 7, and the teacher has 6"),
        ({"neurons": 2000}, "student.neurons is 2000, and the teacher has 1536"),
        ({"width": 100}, "width 100 is no multiple of the 32"),
        ({"width": 192}, "pca finds its axes in texts"),
    ],
)
def test_shapes_that_are_not_in_the_teacher_are_refused(
    model_path: Path, tmp_path: Path, shape: dict[str, int], message: str
) -> None:
    with pytest.raises(StudentShapeError, match=message):
        make_student(model_path, tmp_path / "student", StudentShape(**shape))
    assert not (tmp_path / "student").exists()


def test_a_folder_that_holds_something_is_refused(model_path: Path, tmp_path: Path) -> None:
    shutil.copy(model_path / "config.json", tmp_path / "config.json")
    with pytest.raises(ModelFilesError, match="not empty"):
        make_student(model_path, tmp_path, StudentShape(layers=1))


@pytest.fixture
def tiny_teacher(model_path: Path, tmp_path: Path) -> Path:
    """A BERT of two layers with random weights and MiniLM's tokenizer."""
    import transformers

    config = transformers.BertConfig(
        vocab_size=30522, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        transformers.BertModel(config, add_pooling_layer=False).save_pretrained(str(tmp_path / "teacher"))
    shutil.copy(model_path / "tokenizer.json", tmp_path / "teacher" / "tokenizer.json")
    return tmp_path / "teacher"
