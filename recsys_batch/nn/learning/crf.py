"""A linear-chain conditional random field over tags (Lafferty, McCallum and Pereira, 2001): what may follow what.

Shapes: B texts of up to W words, C tags. Scores add up along a text: `start_C` of its first tag, `emissions_BWC` of
each word's tag, `transitions_CC` from a word's tag (row) to the next word's (column).
"""

import torch
from torch import Tensor


def pad_words(values_T: Tensor, row_T: Tensor, num_rows: int) -> tuple[Tensor, Tensor]:
    """Return values of words, given text after text with rising `row_T`, as (B, W, ...), and a mask (B, W).

    Padding is 0.
    """
    counts_B = torch.bincount(row_T, minlength=num_rows)
    place_T = torch.arange(len(row_T), device=row_T.device) - (counts_B.cumsum(0) - counts_B)[row_T]
    width = int(counts_B.max()) if num_rows else 0
    padded = values_T.new_zeros((num_rows, width, *values_T.shape[1:]))
    padded[row_T, place_T] = values_T
    mask_BW = torch.arange(width, device=row_T.device) < counts_B[:, None]
    return padded, mask_BW


def log_partition(emissions_BWC: Tensor, mask_BW: Tensor, start_C: Tensor, transitions_CC: Tensor) -> Tensor:
    """Return the log of the sum of exp(score) over all paths of each text (B); 0 for a text without words."""
    if emissions_BWC.shape[1] == 0:
        return emissions_BWC.sum((1, 2))
    alpha_BC = start_C + emissions_BWC[:, 0]
    for word in range(1, emissions_BWC.shape[1]):
        following_BC = torch.logsumexp(alpha_BC[:, :, None] + transitions_CC, dim=1) + emissions_BWC[:, word]
        alpha_BC = torch.where(mask_BW[:, word, None], following_BC, alpha_BC)
    return torch.logsumexp(alpha_BC, dim=1) * mask_BW[:, 0]


def path_scores(
    emissions_BWC: Tensor, mask_BW: Tensor, labels_BW: Tensor, start_C: Tensor, transitions_CC: Tensor
) -> Tensor:
    """Return the score of each text's given tags (B)."""
    if emissions_BWC.shape[1] == 0:
        return emissions_BWC.sum((1, 2))
    emitted_BW = emissions_BWC.gather(2, labels_BW[:, :, None]).squeeze(2)
    moved_BW = transitions_CC[labels_BW[:, :-1], labels_BW[:, 1:]]
    first_B = start_C[labels_BW[:, 0]] * mask_BW[:, 0]
    return first_B + (emitted_BW * mask_BW).sum(1) + (moved_BW * mask_BW[:, 1:]).sum(1)


def negative_log_likelihood_sum(
    emissions_BWC: Tensor, mask_BW: Tensor, labels_BW: Tensor, start_C: Tensor, transitions_CC: Tensor
) -> Tensor:
    """Return -log of the probability of the given tags among all paths, summed over the texts."""
    total_B = log_partition(emissions_BWC, mask_BW, start_C, transitions_CC)
    return (total_B - path_scores(emissions_BWC, mask_BW, labels_BW, start_C, transitions_CC)).sum()


def marginals(emissions_BWC: Tensor, mask_BW: Tensor, start_C: Tensor, transitions_CC: Tensor) -> Tensor:
    """Return the probability of every tag of every word (B, W, C), all paths considered; 0 for padding.

    It is the gradient of the log partition by the word's emission.
    """
    with torch.enable_grad():
        given_BWC = emissions_BWC.detach().float().requires_grad_(True)
        total = log_partition(given_BWC, mask_BW, start_C.detach(), transitions_CC.detach()).sum()
        (found_BWC,) = torch.autograd.grad(total, given_BWC)
    return found_BWC
