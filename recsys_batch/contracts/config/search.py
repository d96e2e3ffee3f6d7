"""Search: how words find items, how a query is understood, and what evidence weighs in the lists of queries."""

from typing import Literal

from pydantic import Field, model_validator

from recsys_batch.contracts.config.block import Block, Share

Language = Literal[
    "none",
    "danish",
    "dutch",
    "english",
    "finnish",
    "french",
    "german",
    "hungarian",
    "italian",
    "norwegian",
    "portuguese",
    "romanian",
    "russian",
    "spanish",
    "swedish",
    "turkish",
]


class SearchFields(Block):
    """How much a word counts in each field of an item, against one in the title; 0: the field is not searched."""

    title: float = Field(1.0, ge=0)
    brand: float = Field(0.4, ge=0)
    category: float = Field(0.4, ge=0)
    description: float = Field(0.4, ge=0)
    attributes: float = Field(0.2, ge=0)

    @model_validator(mode="after")
    def _one_counts(self) -> "SearchFields":
        if not any(self.model_dump().values()):
            raise ValueError("every field counts 0, so that no word would find anything; give one a weight above 0")
        return self


class SearchWeights(Block):
    """What each kind of evidence weighs, once it lies between 0 and 1 among a query's candidates."""

    words: float = Field(1.0, ge=0)
    """The query's words, in the item (BM25)."""
    meaning: float = Field(0.5, ge=0)
    """The cosine of query and item; less of it where the encoder cannot read the query."""
    acts: float = Field(0.5, ge=0)
    """What customers clicked and bought after the query."""
    personal: float = Field(0.2, ge=0)
    """How well an item goes with the history of a request that has one."""
    category: float = Field(0.05, ge=0)
    """The share of what its words find best that is of an item's category."""
    popularity: float = Field(0.02, ge=0)
    """What the shop's customers act on lately: hardly more than what breaks ties."""


class Spelling(Block):
    """Correction of words that the catalog does not know, to words that it does; none with a digit is touched."""

    enabled: bool = True
    one_edit_from: int = Field(4, ge=2)
    """Shortest word that may differ by one letter (put in, left out, replaced, or swapped with the next)."""
    two_edits_from: int = Field(8, ge=2)
    """Shortest word that may differ by two."""

    @model_validator(mode="after")
    def _lengths_ascend(self) -> "Spelling":
        if self.two_edits_from < self.one_edit_from:
            raise ValueError(
                f"two_edits_from {self.two_edits_from} is below one_edit_from {self.one_edit_from}; longer words may "
                "differ more"
            )
        return self


class Search(Block):
    """Lists of queries, and of requests that have one."""

    fields: SearchFields = SearchFields()
    language: Language = "english"
    """Whose endings are cut from words (Snowball's stemmers); `none`: words count as they are. Chinese, Japanese and
    Korean are searched by pairs of characters whatever stands here."""
    k1: float = Field(0.3, ge=0)
    """How much a repeated word adds; little, as titles are short."""
    b: Share = 0.6
    """How much long fields are held back."""
    candidates: int = Field(200, ge=1)
    """Items that words propose, and as many that customers' acts after the query do."""
    spelling: Spelling = Spelling()
    weights: SearchWeights = SearchWeights()
    acts_half_life_days: float = Field(30.0, gt=0)
    """An act after a query that is this old counts half."""


# What the index of the catalog's words, and the reading of queries by it, depend on.
READING_KEYS = ("search.fields", "search.language", "search.k1", "search.b", "search.spelling")
