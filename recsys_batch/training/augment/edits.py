"""Words left out or swapped, as in Easy Data Augmentation (Wei and Zou, 2019), in any script."""

import numpy as np

from recsys_batch.training.augment.words import join_pieces, split_pieces


def delete_tokens(text: str, share: float, rng: np.random.Generator) -> str:
    """Return the text without each of its words with probability `share`; one is always kept."""
    words, gaps = split_pieces(text)
    keeps = rng.random(len(words)) >= share
    if len(words) and not keeps.any():
        keeps[rng.integers(len(words))] = True
    kept_words, kept_gaps, gap = [], [], ""
    for word, before, keep in zip(words, gaps, keeps, strict=False):
        gap = max(gap, before, key=len)  # of two gaps that meet, the wider one: no blank is doubled, none is lost
        if keep:
            kept_words.append(word)
            kept_gaps.append(gap)
            gap = ""
    return join_pieces(kept_words, [*kept_gaps, max(gap, gaps[-1], key=len)]).strip()


def swap_tokens(text: str, share: float, rng: np.random.Generator) -> str:
    """Return the text with about `share` of its words in each other's places; what stands between them stays."""
    words, gaps = split_pieces(text)
    for _ in range(int(rng.binomial(len(words) // 2, share)) if len(words) > 1 else 0):
        first, second = rng.choice(len(words), 2, replace=False)
        words[first], words[second] = words[second], words[first]
    return join_pieces(words, gaps)
