"""Hidden tokens and cut spans: counted by arithmetic, put together again."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys_batch.training.pretrain.masking import choose_spans, choose_words, cut_spans, hide

SENTINELS = np.arange(900, 1000)
EOS = 1


def test_every_token_a_word_hides_the_share_exactly() -> None:
    words_L = np.array([-1, *range(20), -1])
    for seed in range(20):
        hidden_L = choose_words(words_L, 0.15, np.random.default_rng(seed))
        assert hidden_L.sum() == 3  # 0.15 * 20
        assert not hidden_L[[0, -1]].any()


def test_words_are_hidden_whole_until_the_share_is_reached() -> None:
    words_L = np.array([-1, 0, 0, 0, 1, 2, 2, 3, 4, 4, -1])
    for seed in range(50):
        hidden_L = choose_words(words_L, 0.3, np.random.default_rng(seed))
        chosen = set(words_L[hidden_L].tolist())
        assert all(hidden_L[words_L == word].all() for word in chosen)
        sizes = [int((words_L == word).sum()) for word in chosen]
        # 0.3 * 9 tokens are 3; without its longest word the choice would not have been complete.
        assert sum(sizes) >= 3
        assert sum(sizes) - max(sizes) < 3


def test_every_word_is_as_likely_and_one_at_least_is_hidden() -> None:
    words_L = np.array([-1, 0, 1, 2, 3, -1])
    counts = np.zeros(4)
    rng = np.random.default_rng(0)
    for _ in range(2000):
        hidden_L = choose_words(words_L, 0.01, rng)
        assert hidden_L.sum() == 1
        counts += hidden_L[1:5]
    # 500 each; five standard deviations are 97.
    assert np.abs(counts - 500).max() < 97
    assert not choose_words(np.array([-1, -1]), 0.5, rng).any()


def test_hidden_tokens_become_mask_random_or_themselves() -> None:
    num = 20_000
    ids_L, hidden_L = np.full(num, 7), np.ones(num, dtype=bool)
    hidden_L[:1000] = False
    ordinary = np.array([10, 11, 12, 13])
    found_L = hide(ids_L, hidden_L, 4, ordinary, np.random.default_rng(0))
    assert (found_L[:1000] == 7).all()
    shares = [np.mean(np.isin(found_L[1000:], values)) for values in ([4], ordinary, [7])]
    # Five standard deviations of a share of 0.8 among 19,000 are 0.0145.
    np.testing.assert_allclose(shares, [0.8, 0.1, 0.1], atol=0.0145)


@given(
    num=st.integers(2, 80),
    share=st.floats(0.01, 0.9),
    mean=st.floats(1, 6),
    most=st.integers(1, 100),
    seed=st.integers(0, 99),
)
def test_spans_put_back_give_the_text(num: int, share: float, mean: float, most: int, seed: int) -> None:
    ids_L = np.arange(100, 100 + num)
    spans = choose_spans(num, share, mean, most, np.random.default_rng(seed))
    assert spans.lengths.sum() == min(max(1, round(num * share)), num - 1)
    assert 1 <= len(spans.lengths) <= most
    assert (spans.lengths >= 1).all()
    assert spans.starts[0] >= 1  # a kept token comes first
    assert (spans.starts[1:] > (spans.starts + spans.lengths)[:-1]).all()
    inputs, targets = cut_spans(ids_L, spans, SENTINELS, EOS)
    assert inputs[-1] == targets[-1] == EOS
    assert put_back(inputs.tolist(), targets.tolist()) == ids_L.tolist()


def put_back(inputs: list[int], targets: list[int]) -> list[int]:
    """What T5's pieces mean: after each sentinel in the targets stands what it replaces."""
    spans: dict[int, list[int]] = {}
    for token in targets[:-1]:
        if token >= 900:
            spans[token] = []
        else:
            spans[list(spans)[-1]].append(token)
    return [one for token in inputs[:-1] for one in (spans[token] if token >= 900 else [token])]


def test_spans_by_hand() -> None:
    # The example of the T5 paper, tokens for words: for inviting, last cut out of "thank you for inviting me ...".
    from recsys_batch.training.pretrain.masking import Spans

    ids_L = np.array([10, 11, 12, 13, 14, 15, 16, 17, 18, 19])
    inputs, targets = cut_spans(ids_L, Spans(np.array([2, 8]), np.array([2, 1])), SENTINELS, EOS)
    assert inputs.tolist() == [10, 11, 900, 14, 15, 16, 17, 901, 19, EOS]
    assert targets.tolist() == [900, 12, 13, 901, 18, EOS]


def test_one_token_cannot_be_cut() -> None:
    with pytest.raises(ValueError, match="1 token"):
        choose_spans(1, 0.15, 3.0, 100, np.random.default_rng(0))
