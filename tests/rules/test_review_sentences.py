"""Which sentences of an item's reviews are chosen: the shared ones, of moderate length, unlike each other."""

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from recsys_batch.rules.texts.clean import clean_text
from recsys_batch.rules.texts.documents import split_sentences
from recsys_batch.rules.texts.review_sentences import choose_review_sentences

quick = settings(derandomize=True, max_examples=100, deadline=None)

REVIEWS = st.lists(
    st.tuples(
        st.sampled_from([None, 1.0, 3.0, 5.0]),
        st.lists(
            st.sampled_from(
                [
                    "The handle stays cool.",
                    "Handle is loose!",
                    "Blade went dull",
                    "手柄不烫手。",
                    "刀刃很锋利!",
                    "ok",
                    "&amp; <b>",
                ]
            ),
            max_size=4,
        ).map(" ".join),
    ),
    max_size=6,
)


def test_what_several_reviews_speak_of_comes_first() -> None:
    reviews = [
        (5.0, "The handle stays cool on the stove. Bought it for my cousin in Ohio last spring."),
        (5.0, "Love that the handle stays cool. Delivery took eleven days because of snow."),
        (4.0, "Cool handle, stays that way on the stove."),
    ]
    best = choose_review_sentences(reviews, "Steel pan", 1)
    assert best == ["The handle stays cool on the stove."]
    chosen = choose_review_sentences(reviews, "Steel pan", 4)
    assert chosen[0] == best[0]
    # It says what the first says with nearly the same words.
    assert "Cool handle, stays that way on the stove." not in chosen


def test_chinese_reviews_are_compared_by_pairs_of_characters() -> None:
    reviews = [
        (5.0, "布料很厚实,不掉色。给朋友买的"),
        (5.0, "洗过之后不掉色,布料厚实!快递太慢"),
        (None, "布料厚实不掉色"),
    ]
    chosen = choose_review_sentences(reviews, "四件套", 2)
    assert chosen[0] in {"布料很厚实,不掉色。", "洗过之后不掉色,布料厚实!", "布料厚实不掉色"}
    assert len({"布料很厚实,不掉色。", "布料厚实不掉色"} & set(chosen)) == 1


def test_a_sentence_that_only_repeats_the_title_says_nothing() -> None:
    assert choose_review_sentences([(5.0, "Steel pan! It is a steel pan.")], "Steel pan", 3) == []
    assert choose_review_sentences([(5.0, "龙井茶!")], "龙井茶 50克", 3) == []


def test_a_very_short_sentence_gives_way_to_one_of_moderate_length() -> None:
    reviews = [(None, "Sturdy. The hinge closes softly and the lid seals tight.")]
    assert choose_review_sentences(reviews, "Box", 1) == ["The hinge closes softly and the lid seals tight."]


def test_a_review_far_from_the_average_rating_counts_less() -> None:
    # Ratings average 4; the words of both sentences have the same shares.
    reviews = [
        (1.0, "Zipper broke quickly today."),
        *[(5.0, f"Fabric feels {w} indeed.") for w in ("warm", "soft", "nice")],
    ]
    assert choose_review_sentences(reviews, "Coat", 4)[-1] == "Zipper broke quickly today."


def test_markup_and_marks_of_the_file_are_cleaned() -> None:
    assert choose_review_sentences([(5.0, "\ufeff<p>Keeps tea &amp; coffee hot all day long.</p>")], "Flask", 1) == [
        "Keeps tea & coffee hot all day long."
    ]


@quick
@given(REVIEWS, st.integers(0, 4), st.randoms())
def test_the_choice_is_of_the_reviews_and_not_of_their_order(
    reviews: list[tuple[float | None, str]], number: int, shuffler: random.Random
) -> None:
    chosen = choose_review_sentences(reviews, "Knife", number)
    assert len(chosen) == len(set(chosen)) <= number
    assert set(chosen) <= {sentence for _, text in reviews for sentence in split_sentences(clean_text(text))}
    shuffled = reviews + reviews[:2]
    shuffler.shuffle(shuffled)
    # A review that stands there twice counts once.
    assert choose_review_sentences(shuffled, "Knife", number) == chosen
    # The first sentences do not depend on how many are asked for.
    assert choose_review_sentences(reviews, "Knife", number + 1)[:number] == chosen
