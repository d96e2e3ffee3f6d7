"""Settings of what a model can learn from the shop's own data, one block a kind of task. Part of the configuration."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from recsys_batch.contracts.config.block import Block, Share


class NegativeSettings(Block):
    """How many negatives a pair gets besides the batch's own, and which mined ones are believed."""

    hard: int = Field(2, ge=0)
    """Drawn from the mined ones, anew in every batch."""
    random: int = Field(0, ge=0)
    popular: int = Field(0, ge=0)
    """Drawn by `popularity ** popularity_power`."""
    shown: int = Field(0, ge=0)
    """Shown for the query, and not clicked."""
    popularity_power: float = Field(0.75, ge=0)
    depth: int = Field(100, ge=1)
    """Nearest documents of a query that are looked at for hard negatives."""
    keep: int = Field(20, ge=1)
    """Hard negatives kept a pair, the nearest first."""
    skip: int = Field(0, ge=0)
    """Nearest documents passed over before that: those most likely right, where no one judged them."""
    max_share: float = Field(0.95, gt=0)
    """A document whose score is above this share of the positive's is taken for right (TopK-PercPos of NV-Retriever,
    arXiv 2407.15831)."""
    margin: float = Field(0.0, ge=0)
    """A document less than this below the positive's score is taken for right (TopK-MarginPos of the same)."""

    @property
    def is_mining(self) -> bool:
        """Whether the encoder is needed."""
        return self.hard > 0


class AugmentSettings(Block):
    """How often a text is changed, and how much of it by each kind; 0 leaves a kind out."""

    texts: Share = 0.5
    """Share of the texts that are changed at all."""
    synonyms: Share = 0.0
    """Share of the words with a synonym that are replaced."""
    lexicons: list[str] = []
    """Files of synonyms (formats: `Lexicon.load`)."""
    deletion: Share = 0.0
    swap: Share = 0.0
    typos: Share = 0.0
    """Share of the characters."""
    paraphrases: Share = 0.0
    """Share of the changed texts that are first replaced by one of their paraphrases, where they have some."""
    paraphrase_file: str = ""
    """JSON file, text -> list of others of its meaning, made beforehand by back-translation."""
    attributes: bool = False
    """Shuffle lists of attributes."""


class Classification(Block):
    """The category of an item, from its text (`datasets.category_levels` levels of the path)."""

    kind: Literal["category"] = "category"
    name: str = Field("category", pattern=r"^[A-Za-z_]\w*$")
    """Names the task in `loop.metric` and in the registry."""
    dropout: Share = 0.1
    """Before the head."""
    balanced: bool = False
    """Weigh every class by the inverse of its frequency."""


class RatingRegression(Block):
    """The stars of a review, from its text and the item's."""

    kind: Literal["rating"] = "rating"
    name: str = Field("rating", pattern=r"^[A-Za-z_]\w*$")
    """Names the task in `loop.metric` and in the registry."""
    low: float = 1.0
    """Lowest rating there is; a lower one ends the job."""
    high: float = 5.0
    """Highest rating there is."""
    dropout: Share = 0.1
    """Before the head."""


class ClickRanking(Block):
    """Whether an item is clicked under a query, clicks weighted by the inverse propensity of their position."""

    kind: Literal["clicks"] = "clicks"
    name: str = Field("clicks", pattern=r"^[A-Za-z_]\w*$")
    """Names the task in `loop.metric` and in the registry."""
    dropout: Share = 0.1
    """Before the head."""


class _Retrieval(Block):
    temperature: float = Field(0.05, gt=0)
    """Cosines are divided by it; lower: the nearest wrong items count more."""
    k: int = Field(10, ge=1)
    """Items of a list that is measured."""


class QueryRetrieval(_Retrieval):
    """The items that were clicked under a query, near the query."""

    kind: Literal["query_items"] = "query_items"
    name: str = Field("search", pattern=r"^[A-Za-z_]\w*$")
    """Names the task in `loop.metric` and in the registry."""
    negatives: NegativeSettings = NegativeSettings()


class ItemRetrieval(_Retrieval):
    """Items that follow each other in one session, near each other."""

    kind: Literal["item_items"] = "item_items"
    name: str = Field("similar", pattern=r"^[A-Za-z_]\w*$")
    """Names the task in `loop.metric` and in the registry."""
    window: int = Field(3, ge=1)
    """An item is paired with so many that follow it."""
    negatives: NegativeSettings = NegativeSettings(hard=0)
    """Hard ones are off: items that look alike are often right here, though no session proves it."""

    @model_validator(mode="after")
    def _nothing_is_shown(self) -> "ItemRetrieval":
        if self.negatives.shown:
            raise ValueError(f"training.tasks: {self.name}: negatives.shown needs searches; set it to 0 for item_items")
        return self


class Tagging(Block):
    """Brands, colors, sizes and the like in a text, from files of tagged words."""

    kind: Literal["tags"] = "tags"
    name: str = Field("tags", pattern=r"^[A-Za-z_]\w*$")
    """Names the task in `loop.metric` and in the registry."""
    file: str = Field(min_length=1)
    """JSON lines to learn from, each `{"words": ["red", "mug"], "tags": ["B-color", "O"]}` (BIO)."""
    valid_file: str = ""
    """The same, to choose the best weights by."""
    test_file: str = ""
    """The same, to measure the finished model on."""
    dropout: Share = 0.1
    """Before the head."""
    balanced: bool = False
    """Weigh every tag by the inverse of its frequency."""


class Anchor(Block):
    """The vectors of training's queries and items as they were before training, to stay near."""

    kind: Literal["anchor"] = "anchor"
    name: str = Field("anchor", pattern=r"^[A-Za-z_]\w*$")
    """Names the task in `loop.task_shares` and in the registry."""


TaskBlock = Annotated[
    Classification | RatingRegression | ClickRanking | QueryRetrieval | ItemRetrieval | Tagging | Anchor,
    Field(discriminator="kind"),
]
"""One of the tasks, chosen by `kind`."""
