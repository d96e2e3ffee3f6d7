"""Reviews: words in the item's language that agree with the rating and name the item's attributes."""

from dataclasses import dataclass
from typing import Final

import numpy as np

from recsys_batch.demo.catalog import VOCABULARIES, Catalog
from recsys_batch.demo.dirt import ANONYMOUS_REVIEW_RATE, CODES
from recsys_batch.demo.draws import BoolArray, hashes, uniform
from recsys_batch.demo.eventrows import RATING, EventRows
from recsys_batch.demo.item_text import fix_articles, leaf_of, words_of
from recsys_batch.demo.spec import ShopSpec

REVIEW_RATE: Final = 0.7  # of rating events


@dataclass(frozen=True)
class ReviewRows:
    """One entry a review; the rows are those rating events whose user also wrote a text."""

    events: EventRows
    anonymous: BoolArray

    def __len__(self) -> int:
        """Return the number of reviews."""
        return len(self.events)


def choose_reviews(spec: ShopSpec, events: EventRows) -> ReviewRows:
    """Choose the clean rating events that come with a review."""
    spoiled_time = np.isin(events.dirt, [CODES["future_timestamp"], CODES["clock_error"], CODES["exact_duplicate"]])
    rated = (events.type == RATING) & ~spoiled_time
    chosen = events.take(rated & (uniform(spec.seed, "review/written", events.key) < REVIEW_RATE))
    # One review of an item by a user, the earliest.
    chosen = chosen.take(np.lexsort((chosen.time, chosen.item, chosen.user)))
    fresh = (np.diff(chosen.user, prepend=-1) != 0) | (np.diff(chosen.item, prepend=-1) != 0)
    chosen = chosen.take(fresh)
    return ReviewRows(chosen, uniform(spec.seed, "review/anonymous", chosen.key) < ANONYMOUS_REVIEW_RATE)


def write_reviews(spec: ShopSpec, catalog: Catalog, reviews: ReviewRows) -> list[str]:
    """Write the texts."""
    draws = (hashes(spec.seed, "review/words", reviews.events.key[:, None], np.arange(6)) >> np.uint64(40)).tolist()
    items, ratings = reviews.events.item.tolist(), reviews.events.rating.tolist()
    return [_write(catalog, item, rating, draw) for item, rating, draw in zip(items, ratings, draws, strict=True)]


def _write(catalog: Catalog, item: int, rating: float, draws: list[int]) -> str:
    vocabulary, leaf = VOCABULARIES[catalog.domain[item]], leaf_of(catalog, item)
    mood = "praise" if rating >= 4 else "mixed" if rating >= 3 else "complaints"
    general = {"praise": vocabulary.praise, "mixed": vocabulary.mixed, "complaints": vocabulary.complaints}[mood]
    notes = vocabulary.material_notes[mood]
    words = {**words_of(catalog, item), "aspect": leaf.aspects[draws[0] % len(leaf.aspects)]}
    sentences = [general[draws[1] % len(general)]]
    if draws[2] % 4:
        sentences.append(notes[draws[2] // 4 % len(notes)])
    if draws[3] % 3 == 0:
        sentences.append(general[(draws[1] + 1 + draws[3] // 3 % (len(general) - 1)) % len(general)])
    filled = [sentence.format(**words) for sentence in sentences]
    english = vocabulary.domain == "en"
    gap = "\n" if draws[4] % 6 == 0 else " " if english else ""
    if draws[5] % 9 == 0 and rating >= 4:
        said = filled[0].rstrip(".。")
        filled[0] = f'"{said}", says my mother.' if english else f"我妈说“{said}”。"
    text = gap.join(sentence[0].upper() + sentence[1:] for sentence in filled)
    return fix_articles(text) if english else text
