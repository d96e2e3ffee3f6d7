"""Entity tagging: a BIO tag for every word of a text (or character), read off the word's first token."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from recsys_batch.nn.learning import crf
from recsys_batch.nn.learning.heads import ClassHead, TagHead
from recsys_batch.nn.learning.losses import balanced_class_weights, cross_entropy_sum, symmetric_divergence_sum
from recsys_batch.nn.learning.text_network import TextBatch, TextNetwork
from recsys_batch.nn.learning.word_tokens import WordTokenizer, WordTokens
from recsys_batch.rules.metrics.spans import OUTSIDE, macro_f1, micro_scores, score_spans, split_tag
from recsys_batch.rules.texts.tag_paths import allowed_moves, best_path
from recsys_batch.training.examples.columns import TaggedTexts, index_labels
from recsys_batch.training.examples.text_sets import batches_by_length, evaluating
from recsys_batch.training.loop.task import TaskBatch

Augment = Callable[[str, np.random.Generator], str]


@dataclass(frozen=True)
class TaggingInputs:
    """Texts, and where in them (row, token) the words with a tag begin: T words."""

    text: TextBatch
    row_T: Tensor
    token_T: Tensor
    labels_T: Tensor
    weights_T: Tensor | None = None


def tag_names(tags: Sequence[Sequence[str]]) -> tuple[str, ...]:
    """Return `O`, then `B-` and `I-` of every type that occurs, ascending. Raises ValueError on what is no BIO tag."""
    kinds = {split_tag(tag)[1] for row in tags for tag in row} - {""}
    return (OUTSIDE, *(f"{prefix}-{kind}" for kind in sorted(kinds) for prefix in "BI"))


class TaggingTask:
    """Learns tags by cross-entropy, or as a chain; evaluates entities by exact span.

    A word without token (beyond the cut, or dropped by the tokenizer) is not learned, and is predicted to be outside.
    """

    def __init__(
        self,
        network: TextNetwork,
        train: TaggedTexts,
        held_out: TaggedTexts | None = None,
        *,
        names: Sequence[str] | None = None,
        name: str = "tagging",
        dropout: float = 0.1,
        balanced: bool = False,
        augment: Augment | None = None,
        chain: bool = False,
        seed: int = 0,
    ) -> None:
        """Tokenize the examples; `names` are the tags (by default those of the training examples).

        `balanced` weighs every tag by the inverse of its frequency. `augment` changes a training word, by the batch's
        generator; its tag stays. `chain` learns a conditional random field on top, whose best path is predicted among
        those where an `I-` has a beginning. Raises LabelOutOfRangeError for a tag that is none of `names`, ValueError
        for `chain` together with `balanced` or with weights of the examples.
        """
        if chain and (balanced or train.weights is not None):
            raise ValueError("a chain's loss is of whole texts; its words have no weights: leave out chain, or them")
        self.name = name
        self.names = tuple(names) if names is not None else tag_names(train.tags)
        self.network = network
        head_class = TagHead if chain else ClassHead
        self.head = head_class(network.dim, len(self.names), dropout, seed)
        self.module = nn.ModuleDict({"encoder": network, "head": self.head})
        self._augment = augment
        self._words, self._weights = train.words, train.weights
        self._tokenizer = WordTokenizer(network.folder, network.max_tokens)
        self._tokens = self._tokenizer.word_ids(train.words)
        self._labels = [index_labels(f"{name}: tag of a word", tags, self.names) for tags in train.tags]
        self._held_out = held_out
        if held_out is not None:
            for tags in held_out.tags:
                index_labels(f"{name}: held-out tag of a word", tags, self.names)
        self._weights_C = None
        if balanced:
            labels_N = torch.from_numpy(np.concatenate([np.zeros(0, dtype=np.int64), *self._labels]))
            self._weights_C = balanced_class_weights(labels_N, len(self.names))

    def __len__(self) -> int:
        """Return the number of training texts."""
        return len(self._tokens)

    def start_epoch(self, epoch: int) -> None:
        """Nothing to prepare."""

    def make_batch(self, indices: NDArray[np.int64], rng: np.random.Generator) -> TaskBatch:
        """Return the texts of these positions and the tags of their words."""
        chosen = [self._tokens[index] for index in indices]
        if self._augment is not None:
            change = self._augment
            chosen = self._tokenizer.word_ids([[change(word, rng) for word in self._words[row]] for row in indices])
        text = self.network.collate([tokens.ids or [self.network.pad_id] for tokens in chosen])
        has_token = [tokens.first_token_W >= 0 for tokens in chosen]
        row_T = np.repeat(np.arange(len(chosen)), [int(found.sum()) for found in has_token])
        token_T = [tokens.first_token_W[found] for tokens, found in zip(chosen, has_token, strict=True)]
        labels_T = [self._labels[index][found] for index, found in zip(indices, has_token, strict=True)]
        weights_T = torch.from_numpy(self._weights[indices][row_T]) if self._weights is not None else None
        inputs = TaggingInputs(text, torch.from_numpy(row_T), _join(token_T), _join(labels_T), weights_T)
        return TaskBatch(inputs, float(len(row_T)), text.num_tokens)

    def outputs(self, batch: TaskBatch) -> Tensor:
        """Return the logits (T, C) of the words with a tag."""
        inputs: TaggingInputs = batch.inputs
        states_BLH = self.network.states(inputs.text)
        device = states_BLH.device
        logits_TC: Tensor = self.head(states_BLH[inputs.row_T.to(device), inputs.token_T.to(device)])
        return logits_TC

    def loss(self, outputs: Tensor, batch: TaskBatch) -> Tensor:
        """Return the weighted cross-entropy, summed over the words, or the chains' negative log-likelihood, over the
        texts.
        """
        inputs: TaggingInputs = batch.inputs
        if isinstance(self.head, TagHead):
            row_T, num_rows = inputs.row_T.to(outputs.device), len(inputs.text.ids_BL)
            emissions_BWC, mask_BW = crf.pad_words(outputs.float(), row_T, num_rows)
            labels_BW, _ = crf.pad_words(inputs.labels_T.to(outputs.device), row_T, num_rows)
            return crf.negative_log_likelihood_sum(
                emissions_BWC, mask_BW, labels_BW, self.head.start_C, self.head.transitions_CC
            )
        weights_C = self._weights_C.to(outputs.device) if self._weights_C is not None else None
        weights_T = inputs.weights_T.to(outputs.device) if inputs.weights_T is not None else None
        return cross_entropy_sum(outputs, inputs.labels_T.to(outputs.device), weights_C, weights_T)

    def divergence(self, first: Tensor, second: Tensor, batch: TaskBatch) -> Tensor:  # noqa: ARG002
        """Return the symmetric divergence, summed over the words."""
        return symmetric_divergence_sum(first, second)

    def evaluate(self) -> dict[str, float]:
        """Return precision, recall and F1 over all held-out entities, and the mean F1 of their types."""
        if self._held_out is None:
            return {}
        by_kind = score_spans(self._held_out.tags, self.predict(self._held_out.words))
        micro = micro_scores(by_kind)
        return {
            "f1": micro.f1,
            "precision": micro.precision,
            "recall": micro.recall,
            "macro_f1": macro_f1(by_kind),
        }

    def predict(self, texts: Sequence[Sequence[str]]) -> list[list[str]]:
        """Return the likeliest tag of every word, or the tags of the likeliest chain."""
        if not isinstance(self.head, TagHead):
            return [
                [self.names[index] for index in probabilities_WC.argmax(1)]
                for probabilities_WC in self.probabilities(texts)
            ]
        starts_C, follows_CC = allowed_moves(self.names)
        start_C = np.where(starts_C, self.head.start_C.detach().float().cpu().numpy(), -np.inf)
        transitions_CC = np.where(follows_CC, self.head.transitions_CC.detach().float().cpu().numpy(), -np.inf)
        predicted = []
        for tokens, logits_LC in self._logits(texts):
            has_token = tokens.first_token_W >= 0
            tags = np.full(len(has_token), OUTSIDE, dtype=object)
            path = best_path(logits_LC[tokens.first_token_W[has_token]], start_C, transitions_CC)
            tags[has_token] = [self.names[index] for index in path]
            predicted.append(list(tags))
        return predicted

    def probabilities(self, texts: Sequence[Sequence[str]]) -> list[NDArray[np.float32]]:
        """Return for each text the probabilities (words, C) of its words' tags, dropout off; a chain's marginals."""
        return [self._of_words(logits_LC, tokens) for tokens, logits_LC in self._logits(texts)]

    def _logits(self, texts: Sequence[Sequence[str]]) -> list[tuple[WordTokens, NDArray[np.float32]]]:
        """Return for each text its tokens, and their logits (L, C)."""
        tokens = self._tokenizer.word_ids(texts)
        found: list[NDArray[np.float32]] = [np.zeros((0, len(self.names)), dtype=np.float32)] * len(tokens)
        with evaluating(self.module):
            for rows in batches_by_length([len(row.ids) for row in tokens]):
                ids = [tokens[row].ids or [self.network.pad_id] for row in rows]
                logits_BLC: Tensor = self.head(self.network.states(self.network.collate(ids)))
                for place, row in enumerate(rows):
                    found[row] = logits_BLC[place].float().cpu().numpy()
        return list(zip(tokens, found, strict=True))

    def _of_words(self, logits_LC: NDArray[np.float32], tokens: WordTokens) -> NDArray[np.float32]:
        has_token = tokens.first_token_W >= 0
        logits_WC = torch.from_numpy(logits_LC[tokens.first_token_W[has_token]])
        if isinstance(self.head, TagHead):
            is_word_W = torch.ones((1, len(logits_WC)), dtype=torch.bool)
            start_C, transitions_CC = self.head.start_C.cpu().float(), self.head.transitions_CC.cpu().float()
            likely_WC = crf.marginals(logits_WC[None], is_word_W, start_C, transitions_CC)[0]
        else:
            likely_WC = logits_WC.softmax(1)
        # A word without token is outside.
        outside_C = np.array([name == OUTSIDE for name in self.names], dtype=np.float32)
        probabilities_WC = np.tile(outside_C, (len(has_token), 1))
        probabilities_WC[has_token] = likely_WC.numpy()
        return probabilities_WC


def _join(parts: list[NDArray[np.int64]]) -> Tensor:
    return torch.from_numpy(np.concatenate([np.zeros(0, dtype=np.int64), *parts]))
