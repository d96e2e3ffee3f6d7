"""Tokenizers fitted on a corpus: the same for the same texts, whole characters, clear refusals."""

from pathlib import Path

import pytest

from recsys_batch.contracts.errors import ModelFilesError
from recsys_batch.training.pretrain.tokenizers import (
    VocabularyTooSmallError,
    load_tokenizer,
    save_tokenizer,
    sentinel,
    special_id,
    train_unigram,
    train_wordpiece,
)
from tests.training.small_corpus import shop_texts

TEXTS = shop_texts(60)


def test_wordpiece_is_the_same_for_the_same_texts() -> None:
    first = train_wordpiece(TEXTS, 80).to_str()
    assert all(train_wordpiece(TEXTS, 80).to_str() == first for _ in range(3))


def test_wordpiece_by_hand() -> None:
    tokenizer = train_wordpiece(["abab abab 手机", "abab 手"], 30)
    found = tokenizer.encode("ABAB手机abb x")
    # Frequent words are one piece, Chinese characters stand alone, an unseen character is unknown.
    assert found.tokens == ["[CLS]", "abab", "手", "机", "ab", "##b", "[UNK]", "[SEP]"]
    vocabulary = tokenizer.get_vocab()
    assert sorted(vocabulary.values()) == list(range(len(vocabulary)))
    assert [tokenizer.id_to_token(index) for index in range(5)] == ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    special = {token.content for token in tokenizer.get_added_tokens_decoder().values()}
    assert special == {"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"}


def test_wordpiece_keeps_the_most_frequent_characters() -> None:
    tokenizer = train_wordpiece(["红红红红", "蓝蓝蓝", "黑黑", "白"], 4)
    assert {token for token in tokenizer.get_vocab() if not token.startswith("[")} == {"红", "蓝", "黑"}


@pytest.mark.parametrize("begin", [False, True])
def test_unigram_frames_and_gives_texts_back(begin: bool) -> None:
    tokenizer = train_unigram(TEXTS, 300, begin=begin)
    found = tokenizer.encode(TEXTS[0])
    assert found.tokens[-1] == "</s>"
    assert (found.tokens[0] == "<s>") is begin
    assert tokenizer.decode(found.ids) == TEXTS[0]
    marks = [tokenizer.token_to_id(sentinel(number)) for number in range(100)]
    assert len(set(marks)) == 100
    assert None not in marks


def test_unigram_without_room_for_the_characters() -> None:
    characters = ["".join(chr(0x4E00 + place) for place in range(start, start + 10)) for start in range(0, 600, 10)]
    with pytest.raises(VocabularyTooSmallError, match="vocabulary of 300 has no room for all characters"):
        train_unigram(characters, 300)


def test_saved_and_loaded(tmp_path: Path) -> None:
    tokenizer = train_wordpiece(TEXTS, 200)
    save_tokenizer(tokenizer, tmp_path)
    again = load_tokenizer(tmp_path)
    assert again.encode_batch(TEXTS)[3].ids == tokenizer.encode_batch(TEXTS)[3].ids
    assert special_id(again, "mask") == tokenizer.token_to_id("[MASK]")
    with pytest.raises(ModelFilesError, match="no bos token"):
        special_id(again, "bos")
