import itertools

import numpy as np
import pytest

from recsys_batch.rules.texts.tag_paths import allowed_moves, best_path

NAMES = ("O", "B-a", "I-a", "B-b", "I-b")


def is_valid(tags: tuple[str, ...]) -> bool:
    """BIO, as it is defined: an inside tag goes on with an entity of its own type."""
    return all(
        not tag.startswith("I-") or (place > 0 and tags[place - 1] in (f"B-{tag[2:]}", f"I-{tag[2:]}"))
        for place, tag in enumerate(tags)
    )


def test_moves_allow_exactly_the_valid_sequences() -> None:
    start_C, follows_CC = allowed_moves(NAMES)
    for path in itertools.product(range(len(NAMES)), repeat=3):
        allowed = start_C[path[0]] and all(follows_CC[before, tag] for before, tag in itertools.pairwise(path))
        assert allowed == is_valid(tuple(NAMES[tag] for tag in path))


def test_best_allowed_path_against_brute_force() -> None:
    start_C, follows_CC = (np.where(allowed, 0.0, -np.inf) for allowed in allowed_moves(NAMES))
    rng = np.random.default_rng(0)
    for _ in range(20):
        emissions_WC = rng.normal(size=(4, len(NAMES)))
        paths = [
            path
            for path in itertools.product(range(len(NAMES)), repeat=4)
            if is_valid(tuple(NAMES[tag] for tag in path))
        ]
        best = max(paths, key=lambda path: sum(emissions_WC[word, tag] for word, tag in enumerate(path)))
        assert tuple(best_path(emissions_WC, start_C, follows_CC).tolist()) == best


def test_no_words_and_no_bio_tag() -> None:
    assert best_path(np.zeros((0, 2)), np.zeros(2), np.zeros((2, 2))).tolist() == []
    with pytest.raises(ValueError, match="tag 'color'"):
        allowed_moves(["O", "color"])
