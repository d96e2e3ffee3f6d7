"""Changed texts: what each kind may change, what it must keep, lexicons of both languages, seeds."""

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys_batch.contracts.config.tasks import AugmentSettings
from recsys_batch.contracts.errors import ConfigError, SourceNotFoundError
from recsys_batch.training.augment.attributes import shuffle_attributes
from recsys_batch.training.augment.augmenter import Augmenter
from recsys_batch.training.augment.edits import delete_tokens, swap_tokens
from recsys_batch.training.augment.synonyms import Lexicon, replace_synonyms
from recsys_batch.training.augment.typos import add_typos
from recsys_batch.training.augment.words import join_pieces, split_pieces

SYNONYMS = Path(__file__).parents[3] / "shared" / "data" / "synonyms"
TEXTS = st.text(st.sampled_from("ab Z9-'，。华为手机;:."), max_size=30)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@given(text=st.text(max_size=40))
def test_pieces_make_the_text_again(text: str) -> None:
    words, gaps = split_pieces(text)
    assert len(gaps) == len(words) + 1
    assert join_pieces(words, gaps) == text


def test_pieces_of_both_scripts() -> None:
    assert split_pieces("USB-C 手机壳, 2 pcs")[0] == ["USB-C", "手", "机", "壳", "2", "pcs"]


@settings(deadline=None)
@given(text=TEXTS, share=st.floats(0, 1), seed=st.integers(0, 999))
def test_deletion_keeps_order_and_at_least_one_word(text: str, share: float, seed: int) -> None:
    words, left = split_pieces(text)[0], split_pieces(delete_tokens(text, share, rng(seed)))[0]
    assert bool(left) == bool(words)
    remaining = iter(words)
    assert all(any(word == other for other in remaining) for word in left) or len("".join(left)) <= len("".join(words))


def test_deletion_by_hand() -> None:
    found = {delete_tokens("red running shoes", 0.5, rng(seed)) for seed in range(200)}
    assert found == {
        *("red", "running", "shoes", "red running", "red shoes", "running shoes"),
        "red running shoes",
    }
    assert delete_tokens("红色跑鞋", 0.0, rng()) == "红色跑鞋"
    lengths = [len(delete_tokens("红色跑鞋" * 25, 0.1, rng(seed))) for seed in range(50)]
    assert np.mean(lengths) == pytest.approx(90, abs=2)


@settings(deadline=None)
@given(text=TEXTS, share=st.floats(0, 1), seed=st.integers(0, 999))
def test_swapping_keeps_words_and_gaps(text: str, share: float, seed: int) -> None:
    made = swap_tokens(text, share, rng(seed))
    assert sorted(made) == sorted(text)
    if share == 0:
        assert made == text


def test_swapping_changes_places() -> None:
    assert swap_tokens("red mug", 1.0, rng()) == "mug red"
    made = swap_tokens("a b c d e f, g h", 1.0, rng())
    assert made != "a b c d e f, g h"
    assert Counter(made) == Counter("a b c d e f, g h")


def test_attributes_change_order_and_nothing_else() -> None:
    text = "Red mug. Made in China. Color: red; Size: 30 cl; Material: stone ware."
    found = {shuffle_attributes(text, rng(seed)) for seed in range(60)}
    orders = {made.removeprefix("Red mug. Made in China. ").removesuffix(".") for made in found}
    assert len(found) == 6
    assert {tuple(sorted(made.split("; "))) for made in orders} == {
        ("Color: red", "Material: stone ware", "Size: 30 cl")
    }
    assert all(made.startswith("Red mug. Made in China. ") and made.endswith(".") for made in found)


def test_chinese_attributes_and_none() -> None:
    found = {shuffle_attributes("华为手机。颜色:红色;内存:8GB", rng(seed)) for seed in range(20)}
    assert found == {"华为手机。颜色:红色;内存:8GB", "华为手机。内存:8GB;颜色:红色"}
    for text in ("", "Color: red", "one; two; three", "no attributes here."):
        assert shuffle_attributes(text, rng()) == text


def test_typos_are_near_and_as_many_as_asked() -> None:
    text = "wireless keyboard " * 60
    letters = sum(map(str.isalnum, text))
    made = add_typos(text, 0.1, rng())
    assert _edit_distance(text, made) == pytest.approx(0.1 * letters, rel=0.35)
    assert add_typos(text, 0.0, rng()) == text
    assert add_typos(text, 0.1, rng(5)) == add_typos(text, 0.1, rng(5)) != add_typos(text, 0.1, rng(6))


def test_each_kind_of_slip() -> None:
    # Of one letter: a key beside it, or itself twice; alone it is never left out.
    assert {add_typos("G", 1.0, rng(seed)) for seed in range(200)} == {"F", "H", "T", "Y", "V", "B", "GG", "G"}
    found = {add_typos("手机", 0.5, rng(seed)) for seed in range(200)}
    assert found == {"手机", "机手", "机"}
    assert add_typos(" ,. -", 1.0, rng()) == " ,. -"
    assert add_typos("", 1.0, rng()) == ""


@settings(deadline=None)
@given(text=TEXTS, share=st.floats(0, 1), seed=st.integers(0, 999))
def test_typos_leave_something_of_each_word(text: str, share: float, seed: int) -> None:
    assert bool(add_typos(text, share, rng(seed)).strip()) == bool(text.strip())


def lexicon(tmp_path: Path) -> Lexicon:
    english = tmp_path / "english.csv"
    english.write_text("source,synset,synonyms\nx,1,sofa|couch|lounge\nx,2,hard drive|hard disk\nx,3,alone\n")
    chinese = tmp_path / "chinese.txt"
    chinese.write_text("Aa01A01= 手机 移动电话\nAa01A02# 红色 蓝色\nAa01A03@ 独\nAa01A04= 跑鞋 运动鞋 手\n", "utf-8")
    return Lexicon.load([english, chinese])


def test_synonyms_of_both_languages(tmp_path: Path) -> None:
    words = lexicon(tmp_path)
    assert words.synonyms("Couch") == ["lounge", "sofa"]
    assert words.synonyms("红色") == []
    assert len(words) == 3 + 2 + 2 + 3
    found = {replace_synonyms("Sofa with hard drive", 1.0, words, rng(seed)) for seed in range(40)}
    assert found == {"Couch with hard disk", "Lounge with hard disk"}
    found = {replace_synonyms("红色跑鞋 手机 手", 1.0, words, rng(seed)) for seed in range(40)}
    assert found == {"红色运动鞋 移动电话 手", "红色手 移动电话 手"}
    assert replace_synonyms("Sofa 手机", 0.0, words, rng()) == "Sofa 手机"
    assert replace_synonyms("sofas", 1.0, words, rng()) == "sofas"


def test_lexicons_that_do_not_serve(tmp_path: Path) -> None:
    with pytest.raises(SourceNotFoundError, match=r"missing\.csv"):
        Lexicon.load([tmp_path / "missing.csv"])
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    with pytest.raises(ConfigError, match="no column synonyms"):
        Lexicon.load([tmp_path / "other.csv"])
    (tmp_path / "empty.txt").write_text("word\n")
    with pytest.raises(ConfigError, match="no group"):
        Lexicon.load([tmp_path / "empty.txt"])


@pytest.mark.skipif(not SYNONYMS.is_dir(), reason="needs ../shared/data/synonyms")
def test_real_lexicons() -> None:
    words = Lexicon.load([SYNONYMS / "cn_dict_synonym.txt", SYNONYMS / "en_oewn_synonyms.csv"])
    assert "couch" in words.synonyms("sofa")
    assert "人工" in words.synonyms("劳力") or "劳动力" in words.synonyms("劳力")
    made = {replace_synonyms("comfortable sofa, 劳力", 1.0, words, rng(seed)) for seed in range(30)}
    assert all("sofa" not in text and "劳力" not in text.split()[-1:] for text in made)
    assert len(made) > 3


def test_augmenter(tmp_path: Path) -> None:
    lexicon(tmp_path)
    wanted = AugmentSettings(
        texts=1.0, synonyms=1.0, lexicons=[str(tmp_path / "english.csv")], swap=1.0, paraphrases=1.0
    )
    augment = Augmenter(wanted, {"settee": ["red sofa"]})
    assert {augment("settee", rng(seed)) for seed in range(30)} == {"couch red", "lounge red"}
    assert augment("", rng()) == ""
    half = Augmenter(AugmentSettings(texts=0.5, deletion=1.0))
    changed = sum(half("red mug", rng(seed)) != "red mug" for seed in range(400))
    assert changed == pytest.approx(200, abs=60)
    all_kinds = Augmenter(AugmentSettings(texts=1.0, deletion=0.3, swap=0.5, typos=0.2, attributes=True))
    text = "Red mug. Color: red; Size: 30 cl"
    assert all_kinds(text, rng(1)) == all_kinds(text, rng(1))
    with pytest.raises(ValueError, match="lexicons"):
        Augmenter(AugmentSettings(synonyms=0.1))
    with pytest.raises(ValueError, match="paraphrases"):
        Augmenter(AugmentSettings(paraphrases=0.1))


def _edit_distance(first: str, second: str) -> int:
    row = list(range(len(second) + 1))
    for i, a in enumerate(first, 1):
        above, row = row, [i]
        for j, b in enumerate(second, 1):
            row.append(min(above[j] + 1, row[-1] + 1, above[j - 1] + (a != b)))
    return row[-1]


def test_settings_refuse_unknown_names() -> None:
    with pytest.raises(ValueError, match="typo"):
        AugmentSettings.model_validate(json.loads('{"typo": 0.1}'))
