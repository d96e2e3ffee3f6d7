"""Tagging: words and their first tokens, loss and gradients against torch by hand, learning, refusals."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional

from recsys_batch.nn.learning.heads import TagHead, load_head, save_head
from recsys_batch.nn.learning.text_network import TextNetwork
from recsys_batch.nn.learning.word_tokens import WordTokenizer
from recsys_batch.training.examples.columns import ExamplesMismatchError, LabelOutOfRangeError, TaggedTexts
from recsys_batch.training.loop.task import trainable_parameters
from recsys_batch.training.tasks.tagging import TaggingTask, tag_names

ENGLISH = TaggedTexts(
    [["red", "running", "shoes"], ["blue", "shoes"], ["red", "mug"], ["mug"]],
    [["B-color", "B-item", "I-item"], ["B-color", "B-item"], ["B-color", "B-item"], ["B-item"]],
)
CHINESE = TaggedTexts(
    [list("红色跑鞋"), list("华为手机"), list("手机壳")],
    [["B-color", "I-color", "B-item", "I-item"], ["O", "O", "B-item", "I-item"], ["B-item", "I-item", "I-item"]],
)
Networks = Callable[..., TextNetwork]


def all_of(task: TaggingTask) -> np.ndarray:
    return np.arange(len(task))


def test_first_tokens_of_words(tiny_network: Networks) -> None:
    network = tiny_network()
    tokenizer = WordTokenizer(network.folder, 32)
    # "runn" "##ing" are two tokens; the blank has none.
    (found,) = tokenizer.word_ids([["red", "running", " ", "shoes"]])
    assert found.ids == network.tokenizer.ids(["red running shoes"])[0]
    assert found.first_token_W.tolist() == [1, 2, -1, 4]
    (characters,) = tokenizer.word_ids([list("华为手机")])
    assert characters.first_token_W.tolist() == [1, 2, 3, 4]
    (empty,) = tokenizer.word_ids([[]])
    assert empty.first_token_W.tolist() == []


def test_words_beyond_the_cut_have_no_token(tiny_network: Networks) -> None:
    (found,) = WordTokenizer(tiny_network().folder, 4).word_ids([["red", "mug", "shoes"]])
    assert len(found.ids) == 4
    assert found.first_token_W.tolist() == [1, 2, -1]


def test_loss_is_torchs_over_first_tokens(tiny_network: Networks) -> None:
    task = TaggingTask(tiny_network(), ENGLISH, balanced=True)
    assert task.names == ("O", "B-color", "I-color", "B-item", "I-item")
    task.module.eval()
    batch = task.make_batch(np.array([2, 0]), np.random.default_rng(0))
    assert batch.count == 5  # red mug, red running shoes
    assert batch.num_tokens == 4 + 6
    states_BLH = task.network.states(batch.inputs.text)
    # By hand: [CLS] red mug [SEP], and [CLS] red runn ##ing shoes [SEP].
    logits = task.head.linear(torch.cat([states_BLH[0, [1, 2]], states_BLH[1, [1, 2, 4]]]))
    # Among the 8 words: 3 B-color, 4 B-item, 1 I-item; three classes occur.
    weights = torch.tensor([0, 8 / (3 * 3), 0, 8 / (3 * 4), 8 / (3 * 1)])
    expected = functional.cross_entropy(logits, torch.tensor([1, 3, 1, 3, 4]), weights, reduction="sum")
    outputs = task.outputs(batch)
    torch.testing.assert_close(outputs, logits)
    torch.testing.assert_close(task.loss(outputs, batch), expected)


def test_gradient_reaches_every_layer(tiny_network: Networks) -> None:
    task = TaggingTask(tiny_network(), ENGLISH)
    batch = task.make_batch(all_of(task), np.random.default_rng(0))
    task.loss(task.outputs(batch), batch).backward()
    gradients = {name: p.grad for name, p in trainable_parameters([task]).items()}
    assert all(gradient is not None and gradient.abs().sum() > 0 for gradient in gradients.values()), gradients.keys()


@pytest.mark.parametrize("examples", [ENGLISH, CHINESE])
def test_learns_and_is_evaluated_by_entities(tiny_network: Networks, examples: TaggedTexts) -> None:
    task = TaggingTask(tiny_network(), examples, examples, dropout=0.0)
    task.module.eval()
    optimizer = torch.optim.Adam(trainable_parameters([task]).values(), lr=0.01)
    for _ in range(40):
        batch = task.make_batch(all_of(task), np.random.default_rng(0))
        optimizer.zero_grad()
        (task.loss(task.outputs(batch), batch) / batch.count).backward()
        optimizer.step()
    assert task.evaluate() == {"f1": 1.0, "precision": 1.0, "recall": 1.0, "macro_f1": 1.0}
    assert task.predict(examples.words) == [list(tags) for tags in examples.tags]


@pytest.mark.parametrize("examples", [ENGLISH, CHINESE])
def test_a_chain_learns(tiny_network: Networks, examples: TaggedTexts) -> None:
    task = TaggingTask(tiny_network(), examples, examples, dropout=0.0, chain=True)
    task.module.eval()
    optimizer = torch.optim.Adam(trainable_parameters([task]).values(), lr=0.01)
    for _ in range(40):
        batch = task.make_batch(all_of(task), np.random.default_rng(0))
        optimizer.zero_grad()
        (task.loss(task.outputs(batch), batch) / batch.count).backward()
        optimizer.step()
    assert float(task.head.transitions_CC.detach().abs().sum()) > 0
    assert task.evaluate() == {"f1": 1.0, "precision": 1.0, "recall": 1.0, "macro_f1": 1.0}
    assert task.predict(examples.words) == [list(tags) for tags in examples.tags]


def test_a_chain_without_learned_moves_is_cross_entropy_and_softmax(tiny_network: Networks) -> None:
    chain, alone = (TaggingTask(tiny_network(), ENGLISH, chain=chain) for chain in (True, False))
    losses = []
    for task in (chain, alone):
        task.module.eval()
        batch = task.make_batch(all_of(task), np.random.default_rng(0))
        losses.append(task.loss(task.outputs(batch), batch).detach())
    torch.testing.assert_close(losses[0], losses[1])
    texts = [["red", " ", "mug"], [], ["running", "shoes", "red", "mug", "blue"]]
    for mine, theirs in zip(chain.probabilities(texts), alone.probabilities(texts), strict=True):
        np.testing.assert_allclose(mine, theirs, atol=1e-5)


def test_a_chain_predicts_no_inside_without_beginning(tiny_network: Networks) -> None:
    task = TaggingTask(tiny_network(), ENGLISH, chain=True)
    with torch.no_grad():
        # O, B-color, I-color, B-item, I-item: each word likes I-item best, then B-color.
        task.head.linear.weight.zero_()
        task.head.linear.bias.copy_(torch.tensor([0.0, 1.5, 0.0, 1.0, 3.0]))
    assert task.predict([["red", " ", "mug"], []]) == [["B-item", "O", "I-item"], []]
    plain = TaggingTask(tiny_network(), ENGLISH)
    plain.head.load_state_dict(task.head.state_dict(), strict=False)
    assert plain.predict([["red", "mug"]]) == [["I-item", "I-item"]]


def test_a_chains_head_is_kept(tiny_network: Networks, tmp_path: Path) -> None:
    task = TaggingTask(tiny_network(), ENGLISH, chain=True)
    with torch.no_grad():
        task.head.transitions_CC.normal_(generator=torch.Generator().manual_seed(0))
    save_head(task.head, tmp_path, {"tags": task.names})
    head, notes = load_head(tmp_path)
    assert isinstance(head, TagHead)
    assert torch.equal(head.transitions_CC, task.head.transitions_CC)
    assert tuple(notes["tags"]) == task.names
    with pytest.raises(ValueError, match="its words have no weights"):
        TaggingTask(tiny_network(), ENGLISH, chain=True, balanced=True)


def test_prediction_does_not_depend_on_company_and_covers_words_without_tokens(tiny_network: Networks) -> None:
    task = TaggingTask(tiny_network(), ENGLISH)
    task.module.train()
    texts = [["red", " ", "mug"], [], ["running", "shoes", "red", "mug", "blue"]]
    together = task.probabilities(texts)
    for text, probabilities_WC in zip(texts, together, strict=True):
        np.testing.assert_allclose(probabilities_WC, task.probabilities([text])[0], atol=1e-6)
        np.testing.assert_allclose(probabilities_WC.sum(1), 1, atol=1e-5)
    assert together[0][1].tolist() == [1, 0, 0, 0, 0]  # the blank is outside
    assert task.module.training


def test_divergence_is_zero_for_equal_passes(tiny_network: Networks) -> None:
    task = TaggingTask(tiny_network(), ENGLISH)
    batch = task.make_batch(all_of(task), np.random.default_rng(0))
    task.module.train()
    first, second = task.outputs(batch), task.outputs(batch)
    assert task.divergence(first, first, batch).detach() == 0
    p, q = first.log_softmax(1), second.log_softmax(1)
    both = functional.kl_div(p, q, reduction="sum", log_target=True) + functional.kl_div(
        q, p, reduction="sum", log_target=True
    )
    assert both.detach() > 0  # dropout
    torch.testing.assert_close(task.divergence(first, second, batch), both / 2, rtol=1e-4, atol=1e-6)


def test_unknown_tags_are_refused(tiny_network: Networks) -> None:
    with pytest.raises(LabelOutOfRangeError, match=r"tag of a word of example 1 is 'B-item', none of the 2 known ones"):
        TaggingTask(tiny_network(), ENGLISH, names=("O", "B-color"))
    with pytest.raises(LabelOutOfRangeError, match="held-out tag of a word of example 0 is 'B-shade'"):
        TaggingTask(tiny_network(), ENGLISH, TaggedTexts([["red"]], [["B-shade"]]))
    with pytest.raises(ValueError, match="tag 'color': must be O, B-type or I-type"):
        tag_names([["color"]])


def test_words_and_tags_go_together() -> None:
    with pytest.raises(ExamplesMismatchError, match="example 1 has 2 words and 1 tags"):
        TaggedTexts([["red"], ["red", "mug"]], [["O"], ["O"]])


def test_words_change_and_their_tags_stay(tiny_network: Networks) -> None:
    def change(word: str, rng: np.random.Generator) -> str:
        return {"red": "blue", "mug": ""}.get(word, word) if rng.random() < 2 else word

    task = TaggingTask(tiny_network(), ENGLISH, augment=change)
    batch = task.make_batch(np.array([0, 2]), np.random.default_rng(0))
    # [CLS] blue runn ##ing shoes [SEP], and [CLS] blue [SEP]: the mug has no token left, and is not learned from.
    plain = TaggingTask(tiny_network(), TaggedTexts([["blue", "running", "shoes"], ["blue"]], [["O"] * 3, ["O"]]))
    expected = plain.make_batch(np.array([0, 1]), np.random.default_rng(0))
    assert torch.equal(batch.inputs.text.ids_BL, expected.inputs.text.ids_BL)
    assert batch.inputs.token_T.tolist() == [1, 2, 4, 1]
    assert [task.names[label] for label in batch.inputs.labels_T] == ["B-color", "B-item", "I-item", "B-color"]
    assert batch.count == 4
    untouched = TaggingTask(tiny_network(), ENGLISH).make_batch(np.array([0, 2]), np.random.default_rng(0))
    assert untouched.count == 5
