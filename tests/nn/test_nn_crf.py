"""The chain against brute force over all paths."""

import itertools

import numpy as np
import torch

from recsys_batch.nn.learning.crf import log_partition, marginals, negative_log_likelihood_sum, pad_words, path_scores
from recsys_batch.rules.texts.tag_paths import best_path

TAGS = 3


def draw(lengths: list[int], seed: int) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(seed)
    width = max(lengths)
    emissions_BWC = torch.randn(len(lengths), width, TAGS, generator=generator, dtype=torch.float64)
    mask_BW = torch.arange(width) < torch.tensor(lengths)[:, None]
    start_C = torch.randn(TAGS, generator=generator, dtype=torch.float64)
    transitions_CC = torch.randn(TAGS, TAGS, generator=generator, dtype=torch.float64)
    return emissions_BWC, mask_BW, start_C, transitions_CC


def score(path: tuple[int, ...], emissions_WC, start_C, transitions_CC) -> float:
    total = float(start_C[path[0]]) if path else 0.0
    total += sum(float(emissions_WC[word, tag]) for word, tag in enumerate(path))
    return total + sum(float(transitions_CC[before, tag]) for before, tag in itertools.pairwise(path))


def test_partition_scores_and_marginals_are_those_of_all_paths() -> None:
    lengths = [4, 1, 0, 3]
    emissions_BWC, mask_BW, start_C, transitions_CC = draw(lengths, 0)
    found_B = log_partition(emissions_BWC, mask_BW, start_C, transitions_CC)
    likely_BWC = marginals(emissions_BWC, mask_BW, start_C.float(), transitions_CC.float())
    labels_BW = torch.tensor([[0, 2, 1, 1], [2, 0, 0, 0], [0, 0, 0, 0], [1, 1, 0, 0]])
    scores_B = path_scores(emissions_BWC, mask_BW, labels_BW, start_C, transitions_CC)
    expected_loss = 0.0
    for row, length in enumerate(lengths):
        paths = list(itertools.product(range(TAGS), repeat=length))
        scores = np.array([score(path, emissions_BWC[row], start_C, transitions_CC) for path in paths])
        total = np.log(np.exp(scores).sum())
        np.testing.assert_allclose(float(found_B[row]), total, atol=1e-9)
        given = score(tuple(labels_BW[row, :length].tolist()), emissions_BWC[row], start_C, transitions_CC)
        np.testing.assert_allclose(float(scores_B[row]), given, atol=1e-9)
        expected_loss += total - given
        for word in range(length):
            for tag in range(TAGS):
                share = sum(np.exp(s - total) for path, s in zip(paths, scores, strict=True) if path[word] == tag)
                np.testing.assert_allclose(float(likely_BWC[row, word, tag]), share, atol=1e-5)
        assert (likely_BWC[row, length:] == 0).all()
    loss = negative_log_likelihood_sum(emissions_BWC, mask_BW, labels_BW, start_C, transitions_CC)
    np.testing.assert_allclose(float(loss), expected_loss, atol=1e-9)


def test_best_path_is_the_best_of_all() -> None:
    for seed in range(30):
        emissions_BWC, _, start_C, transitions_CC = draw([5], seed)
        if seed % 2:
            transitions_CC[0, 2] = start_C[2] = -torch.inf
        paths = list(itertools.product(range(TAGS), repeat=5))
        best = max(paths, key=lambda path: score(path, emissions_BWC[0], start_C, transitions_CC))
        found = best_path(emissions_BWC[0].numpy(), start_C.numpy(), transitions_CC.numpy())
        assert tuple(found.tolist()) == best


def test_words_are_padded_by_row() -> None:
    padded, mask_BW = pad_words(torch.tensor([5, 6, 7]), torch.tensor([0, 2, 2]), 3)
    assert padded.tolist() == [[5, 0], [0, 0], [6, 7]]
    assert mask_BW.tolist() == [[True, False], [False, False], [True, True]]
