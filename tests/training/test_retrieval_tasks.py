"""Retrieval tasks on a tiny network: batches, losses from the formula, learning, resuming, refusals."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from recsys_batch.contracts.config.tasks import NegativeSettings
from recsys_batch.contracts.config.training import Loop, Optimizer
from recsys_batch.nn.learning.text_network import TextNetwork
from recsys_batch.nn.scoring.seen import SeenItems
from recsys_batch.training.examples.embedding import embed_texts
from recsys_batch.training.examples.negatives import Negatives, Pairs
from recsys_batch.training.examples.text_sets import embed_by_length
from recsys_batch.training.loop.run import train
from recsys_batch.training.tasks.graded_retrieval import GradedRetrievalTask, GradedSettings
from recsys_batch.training.tasks.query_document import HeldOut
from recsys_batch.training.tasks.retrieval import RetrievalTask, pairs_from_sessions

Networks = Callable[..., TextNetwork]
DOCUMENTS = ["red shoes", "blue shoes", "red mug", "blue mug", "red cup", "blue cup", "good mug", "华为手机", "手机壳"]
QUERIES = ["running shoes", "mug", "cup", "华为"]
PAIRS = Pairs(np.array([0, 0, 1, 1, 2, 3]), np.array([0, 1, 2, 3, 4, 7]))
GRADES = [{0: 3.0, 1: 2.0, 2: 0.0}, {2: 3.0, 3: 3.0, 4: 0.0, 5: 1.0}, {0: 0.0, 4: 0.0}, {7: 3.0, 8: 1.0}]
FAST = Loop(epochs=10, batch_size=3, optimizer=Optimizer(learning_rate=5e-3, layer_decay=1.0, warmup_share=0.0))


def test_session_pairs() -> None:
    pairs = pairs_from_sessions([[4, 7, 4, 9], [7, 4], [1]], window=2)
    found = sorted(zip(pairs.query_P.tolist(), pairs.document_P.tolist(), strict=True))
    assert found == [(4, 7), (4, 9), (7, 4), (7, 9)]
    assert len(pairs_from_sessions([])) == 0
    with pytest.raises(ValueError, match="window"):
        pairs_from_sessions([[1, 2]], window=0)


def test_batch_holds_each_document_once_and_no_right_one_as_negative(tiny_network: Networks) -> None:
    shown = {0: np.array([6]), 1: np.array([8])}
    negatives = Negatives(NegativeSettings(hard=0, shown=1), PAIRS, len(DOCUMENTS), shown=shown)
    task = RetrievalTask(tiny_network(), QUERIES, DOCUMENTS, PAIRS, negatives=negatives)
    batch = task.make_batch(np.array([0, 1, 2]), np.random.default_rng(0))
    # Pairs (0, 0), (0, 1), (1, 2) with the shown 6 and 8: documents 0, 1, 2, 6, 8.
    assert batch.count == 3
    assert batch.inputs.positive_Q.tolist() == [0, 1, 2]
    shoes, mug = [False, False, True, True, True], [True, True, False, True, True]
    assert batch.inputs.allowed_QD.tolist() == [shoes, shoes, mug]
    assert batch.num_tokens == batch.inputs.queries.mask_BL.sum() + batch.inputs.documents.mask_BL.sum()


def test_loss_is_the_formula(tiny_network: Networks) -> None:
    network = tiny_network().eval()
    task = RetrievalTask(network, QUERIES, DOCUMENTS, PAIRS, temperature=0.1)
    batch = task.make_batch(np.array([0, 2, 4]), np.random.default_rng(0))
    cosines = (
        embed_texts(network, ["running shoes", "mug", "cup"])
        @ embed_texts(network, [DOCUMENTS[i] for i in (0, 2, 4)]).T
    )
    expected = -torch.log_softmax(cosines / 0.1, 1).diagonal().sum()
    outputs = task.outputs(batch)
    assert float(task.loss(outputs, batch)) == pytest.approx(float(expected), rel=1e-4)
    assert float(task.divergence(outputs, outputs, batch)) == 0


def test_item_to_item_is_no_negative_of_itself(tiny_network: Networks) -> None:
    items = Pairs(np.arange(len(DOCUMENTS)), np.arange(len(DOCUMENTS)))
    pairs = Pairs(np.array([0, 1]), np.array([1, 2]))
    task = RetrievalTask(tiny_network(), DOCUMENTS, DOCUMENTS, pairs, also_right=items)
    batch = task.make_batch(np.array([0, 1]), np.random.default_rng(0))
    # Documents 1 and 2; item 0 is followed by 1, and item 1 by 2 (1 itself does not count).
    assert batch.inputs.allowed_QD.tolist() == [[False, True], [False, False]]


def test_prefixes_and_augmentation_reach_the_texts(tiny_network: Networks) -> None:
    network = tiny_network()
    task = RetrievalTask(
        network, QUERIES, DOCUMENTS, PAIRS, augment=lambda text, rng: text + " good", prefixes=("red ", "blue ")
    )
    batch = task.make_batch(np.array([2]), np.random.default_rng(0))
    assert torch.equal(batch.inputs.queries.ids_BL, network.tokenize(["red mug good"]).ids_BL)
    assert torch.equal(batch.inputs.documents.ids_BL, network.tokenize(["blue red mug"]).ids_BL)
    assert torch.allclose(task.embed_queries(["mug"]), embed_texts(network, ["red mug"]))


@pytest.mark.parametrize("kind", ["pairs", "graded"])
def test_training_learns_and_improves_held_out(tiny_network: Networks, tmp_path: Path, kind: str) -> None:
    network = tiny_network()
    held_out = HeldOut(QUERIES, GRADES, k=3)
    if kind == "pairs":
        mining = Negatives(NegativeSettings(hard=1, depth=5, keep=3, random=1), PAIRS, len(DOCUMENTS))
        task = RetrievalTask(network, QUERIES, DOCUMENTS, PAIRS, negatives=mining, held_out=held_out)
    else:
        wanted = GradedSettings(judged=4, unjudged=2, depth=4)
        task = GradedRetrievalTask(network, QUERIES, DOCUMENTS, GRADES, wanted, held_out=held_out)
    before = task.evaluate()["ndcg@3"]
    result = train([task], FAST, tmp_path)
    # The least that a graded loss can be is the entropy of the gains, so it falls by less.
    share = 0.8 if kind == "pairs" else 0.9
    assert np.mean([loss for _, loss in result.losses[-4:]]) < share * np.mean([loss for _, loss in result.losses[:4]])
    assert task.evaluate()["ndcg@3"] > before


@pytest.mark.parametrize("kind", ["pairs", "graded"])
def test_interrupted_inside_an_epoch_and_resumed(tiny_network: Networks, tmp_path: Path, kind: str) -> None:
    def task() -> RetrievalTask | GradedRetrievalTask:
        network = tiny_network()
        if kind == "pairs":
            mining = Negatives(NegativeSettings(hard=1, depth=5, keep=3), PAIRS, len(DOCUMENTS))
            return RetrievalTask(network, QUERIES, DOCUMENTS, PAIRS, negatives=mining)
        return GradedRetrievalTask(network, QUERIES, DOCUMENTS, GRADES, GradedSettings(judged=2, unjudged=1, depth=4))

    settings = FAST.model_copy(update={"epochs": 3, "batch_size": 1, "checkpoint_every": 2})
    whole, halves = task(), task()
    train([whole], settings, tmp_path / "whole")

    class StoppedError(Exception):
        pass

    class Stop:
        def log(self, step: int, values: object) -> None:
            if step == 5:
                raise StoppedError

    with pytest.raises(StoppedError):
        train([halves], settings, tmp_path / "halves", track=Stop())
    halves = task()
    train([halves], settings, tmp_path / "halves")
    for (name, first), second in zip(whole.module.named_parameters(), halves.module.parameters(), strict=True):
        assert torch.equal(first, second), name


def test_graded_batch_knows_who_judged_what(tiny_network: Networks) -> None:
    task = GradedRetrievalTask(tiny_network(), QUERIES, DOCUMENTS, GRADES, GradedSettings(judged=4, unjudged=0))
    assert len(task) == 3  # the third query has no relevant document
    batch = task.make_batch(np.array([0, 1]), np.random.default_rng(0))
    # Documents 0 to 5, all judged ones of the two queries.
    assert batch.inputs.gains_QD.tolist() == [[7, 3, 0, 0, 0, 0], [0, 0, 7, 7, 0, 1]]
    assert batch.inputs.judged_QD.tolist() == [
        [True, True, True, False, False, False],
        [False, False, True, True, True, True],
    ]


def test_graded_loss_is_the_formula(tiny_network: Networks) -> None:
    wanted = GradedSettings(judged=4, unjudged=0, unjudged_weight=0.25, temperature=0.1)
    network = tiny_network().eval()
    task = GradedRetrievalTask(network, QUERIES, DOCUMENTS, GRADES, wanted)
    batch = task.make_batch(np.array([0, 1]), np.random.default_rng(0))
    cosines = embed_texts(network, QUERIES[:2]) @ embed_texts(network, DOCUMENTS[:6]).T
    share = torch.tensor([[0.7, 0.3, 0, 0, 0, 0], [0, 0, 7 / 15, 7 / 15, 0, 1 / 15]])
    everything = -(share * torch.log_softmax(cosines / 0.1, 1)).sum()
    judged = -(share[0, :3] * torch.log_softmax(cosines[0, :3] / 0.1, 0)).sum()
    judged -= (share[1, 2:] * torch.log_softmax(cosines[1, 2:] / 0.1, 0)).sum()
    found = task.loss(task.outputs(batch), batch)
    assert float(found) == pytest.approx(float(0.75 * judged + 0.25 * everything), rel=1e-4)


def test_unjudged_documents_are_the_nearest(tiny_network: Networks) -> None:
    network = tiny_network()
    task = GradedRetrievalTask(network, QUERIES, DOCUMENTS, GRADES, GradedSettings(judged=2, unjudged=2, depth=2))
    task.start_epoch(0)
    cosines_I = (embed_texts(network, DOCUMENTS) @ embed_texts(network, QUERIES[3:]).T)[:, 0]
    cosines_I[[7, 8]] = -2  # judged
    nearest = cosines_I.topk(2).indices.tolist()
    batch = task.make_batch(np.array([2]), np.random.default_rng(0))
    assert batch.inputs.gains_QD.shape == (1, 4)
    drawn = network.tokenize([DOCUMENTS[i] for i in sorted([7, 8, *nearest])])
    assert torch.equal(batch.inputs.documents.ids_BL, drawn.ids_BL)


def test_held_out_by_hand() -> None:
    documents_IH = torch.eye(4)
    queries_QH = torch.tensor([[0.9, 0.5, 0.1, 0.0], [0.0, 0.0, 1.0, 0.5], [1.0, 0, 0, 0]])
    found = HeldOut(["a", "b", "c"], [{1: 3.0, 2: 1.0}, {0: 2.0}, {3: 0.0}], k=2).measure(queries_QH, documents_IH)
    first = (7 / np.log2(3)) / (7 + 1 / np.log2(3))
    assert found == {"ndcg@2": pytest.approx(first / 2), "hit_rate@2": 0.5}
    assert HeldOut(["c"], [{3: 0.0}]).measure(queries_QH[2:], documents_IH) == {}


def test_embedding_does_not_depend_on_batches(tiny_network: Networks) -> None:
    network = tiny_network().train()
    texts = ["", "red", *DOCUMENTS, "red running shoes blue mug cup"] * 3
    found = embed_texts(network, texts, tokens_a_batch=7)
    assert network.training
    assert not found.requires_grad
    network.eval()
    alone = torch.cat([network.embed(network.tokenize([text])) for text in texts])
    assert torch.allclose(found, alone, atol=1e-5)


def test_running_by_length_changes_no_vector_and_no_gradient(tiny_network: Networks) -> None:
    network = tiny_network().eval()
    batch = network.tokenize(["red running shoes blue mug", *DOCUMENTS, "mug"])
    weights_NH = torch.randn(len(batch.ids_BL), network.dim, generator=torch.Generator().manual_seed(0))
    found = []
    for vectors_NH in (network.embed(batch), embed_by_length(network, batch, rows=3)):
        network.zero_grad()
        (vectors_NH * weights_NH).sum().backward()
        found.append((vectors_NH.detach(), [p.grad.clone() for p in network.parameters()]))
    assert torch.allclose(found[0][0], found[1][0], atol=1e-6)
    for first, second in zip(found[0][1], found[1][1], strict=True):
        assert torch.allclose(first, second, atol=1e-5)


def test_refusals(tiny_network: Networks) -> None:
    network = tiny_network()
    with pytest.raises(ValueError, match="temperature"):
        RetrievalTask(network, QUERIES, DOCUMENTS, PAIRS, temperature=0.0)
    with pytest.raises(ValueError, match="names document 7, and there are 3"):
        RetrievalTask(network, QUERIES, DOCUMENTS[:3], PAIRS)
    with pytest.raises(ValueError, match="grade -1"):
        GradedRetrievalTask(network, ["mug"], DOCUMENTS, [{0: -1.0}], GradedSettings())
    with pytest.raises(ValueError, match="document 99"):
        GradedRetrievalTask(network, ["mug"], DOCUMENTS, [{99: 1.0}], GradedSettings())
    with pytest.raises(ValueError, match="judgments of 0"):
        GradedRetrievalTask(network, ["mug"], DOCUMENTS, [], GradedSettings())


def test_held_out_leaves_out_what_is_excluded_and_ranks_its_own_documents(tiny_network: Networks) -> None:
    items_QH = torch.eye(3)
    grades = [{1: 1.0}, {0: 1.0}, {2: 1.0}]
    itself = SeenItems(np.arange(4), np.arange(3))
    each = HeldOut(["a", "b", "c"], grades, k=1, exclude=itself).measure_each(items_QH, torch.eye(3)[[0, 0, 2]])
    # Query 1 finds nothing near, and of equals the first: document 0. Query 2's only right one is itself.
    assert each["hit_rate@1"].tolist() == [1.0, 1.0, 0.0]
    task = RetrievalTask(
        tiny_network(),
        ["mug"],
        ["red mug"],
        Pairs(np.array([0]), np.array([0])),
        held_out=HeldOut(["mug"], [{1: 1.0}], 1, documents=["shoes", "mug"]),
    )
    assert task.evaluate() == {"ndcg@1": 1.0, "hit_rate@1": 1.0}
