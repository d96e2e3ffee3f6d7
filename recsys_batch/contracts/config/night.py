"""The configuration: one frozen model per block, a line of doc per key. Unknown keys and wrong types are errors."""

import re
from typing import Literal, get_args

from pydantic import Field, field_validator, model_validator

from recsys_batch.contracts.columns import BLENDED_SOURCES, EVENT_TYPES, Inputs
from recsys_batch.contracts.config.block import Block, EventType, Share, Zone
from recsys_batch.contracts.config.compress import Compress
from recsys_batch.contracts.config.encoder import Encoder
from recsys_batch.contracts.config.experiment import Experiment
from recsys_batch.contracts.config.maintain import Forget, Maintain
from recsys_batch.contracts.config.models import Training
from recsys_batch.contracts.config.prepare import Expectation, Prepare
from recsys_batch.contracts.config.pretrain import ShopPretrain
from recsys_batch.contracts.config.ranker import Ranker, RankerTraining
from recsys_batch.contracts.config.search import Search
from recsys_batch.contracts.config.semi_supervised import ActiveLearning
from recsys_batch.contracts.config.splits import DEFAULT_SPLITS, Split
from recsys_batch.contracts.config.tracking import Tracking
from recsys_batch.contracts.config.tune import Tune
from recsys_batch.contracts.errors import ConfigError
from recsys_batch.contracts.filesystem import arrow_uri

CandidateSource = Literal["content", "covisitation", "popularity"]
Calibration = Literal["none", "max", "zscore"]
EXPLODE = re.compile(r"\s*(?P<array>.+?)\s+AS\s+(?P<name>[A-Za-z_]\w*)\s*", re.IGNORECASE)
NUMBER_FORMS = ("decimal_point", "decimal_comma")
EPOCH_FORMS = ("epoch_seconds", "epoch_milliseconds", "epoch_microseconds", "epoch_nanoseconds")


class Reader(Block):
    """What a Spark reader needs to know."""

    format: Literal["csv", "json", "parquet", "delta"]
    path: str
    """File, folder or glob; relative to the working directory. `{ds}` here, in `where` and in `select` is the date."""
    options: dict[str, str] = {}
    """Options of the Spark reader, such as `header: "true"` or `multiLine: "true"`."""
    schema_ddl: str = ""
    """Schema as Spark DDL; needed where inference would guess types differently from day to day."""


class Join(Reader):
    """Another file that rows of a source are joined with before its expressions are taken."""

    name: str = Field(pattern=r"^[A-Za-z_]\w*$")
    """How expressions call it: `name.column`; the source's own columns are `source.column`."""
    on: str = Field(min_length=1)
    """SQL predicate, such as `source.coupon_upc = coupons.coupon_upc`."""
    how: Literal["left", "inner"] = "left"
    columns: list[str] = []
    """Only these columns, each combination once; all columns of all rows where empty."""


class Source(Reader):
    """Where one input table comes from: a Spark reader plus SQL expressions."""

    joins: list[Join] = []
    """Files to join with, in this order."""
    where: str = ""
    """SQL predicate on the raw columns; the rows it removes are counted as `filtered`."""
    explode: str = ""
    """`COLUMN AS NAME`: a row for each element of an array (the items of a GA4 event, the lines of an order), which the
    expressions call NAME; a row whose array is empty stays one row, without. An `event_id` gets the element's place
    behind it (`4711#0`)."""
    select: dict[str, str]
    """Column of the input table -> SQL expression over the raw columns."""
    read_as: dict[str, str] = {}
    """Column of the input table -> how the source writes it, where that is not Spark's own way: `decimal_comma`
    (`1.234,50 €`) or `decimal_point` (`EUR 1,234.50`); `epoch_seconds`, `epoch_milliseconds`, `epoch_microseconds`,
    `epoch_nanoseconds`, or a pattern such as `dd.MM.yyyy HH:mm`."""
    timezone: Zone = ""
    """Time zone of times that name none, such as `Europe/Berlin`; the shop's (`prepare.timezone`) where empty."""

    @field_validator("explode")
    @classmethod
    def _is_as(cls, explode: str) -> str:
        if explode and not EXPLODE.fullmatch(explode):
            raise ValueError(f"explode: {explode!r} is not of the form `COLUMN AS NAME`, such as `items AS item`")
        return explode

    @model_validator(mode="after")
    def _forms_fit(self) -> "Source":
        types = {column: kind for table in Inputs.TYPES.values() for column, kind in table.items()}
        for column, form in self.read_as.items():
            if column not in self.select:
                raise ValueError(f"read_as names {column!r}, which `select` does not give")
            is_number, is_time = types.get(column) in ("double", "int"), types.get(column) == "timestamp"
            if (form in NUMBER_FORMS and not is_number) or (form in EPOCH_FORMS and not is_time):
                raise ValueError(f"read_as.{column}: {form} does not fit a {types.get(column)}")
            if form not in (*NUMBER_FORMS, *EPOCH_FORMS) and not (is_time and re.search("[yu].*[ML]|[ML].*[yu]", form)):
                known = ", ".join(NUMBER_FORMS if is_number else EPOCH_FORMS)
                raise ValueError(
                    f"read_as.{column}: {form!r} is unknown; known: {known}"
                    + (", or a pattern such as dd.MM.yyyy HH:mm" if is_time else "")
                )
        return self


class Sources(Block):
    """All inputs; several sources a table are united."""

    events: list[Source] = Field(min_length=1)
    items: list[Source] = Field(min_length=1)
    reviews: list[Source] = []
    requests: list[Source] = []
    exclusions: list[Source] = []
    """Items that must not be shown to a user (`user_id`) or for a request (`request_id`)."""
    targets: list[Source] = []
    """The held-out item of each request, read by `evaluate` only."""

    @model_validator(mode="after")
    def _columns_are_known(self) -> "Sources":
        for table, columns in Inputs.TYPES.items():
            for number, source in enumerate(getattr(self, table)):
                where = f"sources.{table}.{number}.select"
                if missing := [c for c in Inputs.REQUIRED[table] if c not in source.select]:
                    raise ValueError(f"{where} lacks the required column {missing[0]!r}")
                if table == "exclusions" and not {"user_id", "request_id"} & set(source.select):
                    raise ValueError(f"{where} gives neither user_id nor request_id: an exclusion is of one of them")
                if unknown := [c for c in source.select if c not in columns]:
                    known = ", ".join(columns)
                    raise ValueError(f"{where} names the unknown column {unknown[0]!r}; known: {known}")
        return self


class Lake(Block):
    """Where the tables are written."""

    root: str = ""
    """Folder or URI of the lake; `lake/<config name>` where empty."""
    catalog_schema: str = Field("", pattern=r"^([A-Za-z_]\w*(\.[A-Za-z_]\w*)?)?$")
    """`catalog.schema` to register the published tables in; none where empty."""

    @field_validator("root")
    @classmethod
    def _workers_can_read_it(cls, root: str) -> str:
        try:
            arrow_uri(root)
        except ValueError as error:
            raise ValueError(f"lake.root: {error}") from None
        return root


class ItemText(Block):
    """Which catalog fields make the text of an item, in which order."""

    fields: list[Literal["title", "brand", "category", "description", "attributes", "reviews"]] = Field(
        ["title", "brand", "category", "description", "attributes"], min_length=1
    )
    max_tokens: int = Field(160, ge=8)
    """Budget of the whole text, in estimated tokens (`rules.texts.documents.count_tokens`); no field takes more than
    what the earlier ones left, and no sentence is cut where a shorter one fits."""
    review_sentences: int = Field(3, ge=0)
    """Most informative review sentences that `reviews` adds."""


class Expectations(Block):
    """Declared checks of the inputs; they come on top of those that always run (`rules.expectations.DEFAULTS`)."""

    events: list[Expectation] = []
    items: list[Expectation] = []
    reviews: list[Expectation] = []
    defaults: bool = True
    """Whether the built-in checks run: rows against the weekday's median, a rise of null shares, repeated rows. One
    that is declared here with the same check, column and scope takes the place of the built-in one."""

    @model_validator(mode="after")
    def _are_about_the_table(self) -> "Expectations":
        for table in ("events", "items", "reviews"):
            names = set()
            for number, expectation in enumerate(getattr(self, table)):
                where = f"expectations.{table}.{number}"
                if fault := expectation.fault_in(table):
                    raise ValueError(f"{where}.{fault}")
                if expectation.name in names:
                    raise ValueError(f"{where}.check: {expectation.name} stands twice")
                names.add(expectation.name)
        return self


class Content(Block):
    """Candidates by exact cosine similarity to the profile vector."""

    weight: float = 0.8
    weight_in_similar_items: float = 2.0
    """Weight in `similar_items`, where likeness says more than being bought together."""
    calibration: Calibration = "max"
    candidates: int = Field(200, ge=1)
    sharpness: float = Field(2.0, gt=0)
    """Exponent on the (non-negative) cosine; more than 1 favors near matches."""
    mode: Literal["mean", "sum"] = "sum"
    """How candidates are scored: `mean` by the cosine with the weighted mean history vector (which always proposes
    them), `sum` by the weighted sum of the cosines with each history item."""


class Covisitation(Block):
    """Candidates by items that follow or accompany each other in user histories."""

    weight: float = 1.0
    calibration: Calibration = "max"
    candidates: int = Field(200, ge=1)
    neighbors: int = Field(200, ge=1)
    """Neighbors kept of an item."""
    max_distance: int = Field(10, ge=0)
    """Pairs further apart than this many steps (distinct event times of the user) are not counted."""
    distance_decay: float = Field(0.7, gt=0, le=1)
    """A pair `d` steps apart counts `distance_decay ** (d - 1)`; items of one basket count 1."""
    backward: Share = 0.5
    """Weight of a pair read against time (the neighbor came before)."""
    count_power: float = Field(0.5, ge=0, le=1)
    """Pair counts are divided by the item's own count to this power (1: a conditional probability, 0: raw counts)."""
    neighbor_power: float = Field(0.3, ge=0, le=1)
    """Divides by the neighbor's count to this power as well; at 0, bestsellers are everyone's neighbors."""
    shrinkage: float = Field(10.0, ge=0)
    """Added to the counts, so that pairs of rare items do not win by chance."""
    history_length: int = Field(100, ge=2)
    """Most recent interactions of a user (one an item and day) that pairs are made of."""


class Popularity(Block):
    """Candidates for everyone: what the shop's users interact with lately."""

    weight: float = 0.08
    calibration: Calibration = "max"
    candidates: int = Field(200, ge=1)
    half_life_days: float = Field(14.0, gt=0)


class Retrieve(Block):
    """Candidate generation: every source proposes, then scores what the others proposed."""

    ages: Literal["days", "places"] = "days"
    """How old an act is, for popularity and for a ranker: in days, or, where the log knows an order and no clock, in
    places from the user's newest act."""
    position_half_life: float = Field(3.0, gt=0)
    """A history item this many places from the newest counts half in the profile."""
    content: Content = Content()
    covisitation: Covisitation = Covisitation()
    popularity: Popularity = Popularity()
    item_block: int = Field(32768, ge=1)
    """Items scored at a time by the exact top-k."""
    profile_block: int = Field(512, ge=1)
    """Profiles scored at a time."""

    @property
    def calibrations(self) -> tuple[Calibration, ...]:
        """Those of the blend's sources, in the order of `columns.BLENDED_SOURCES`."""
        return self.content.calibration, self.covisitation.calibration, self.popularity.calibration

    @property
    def weights(self) -> tuple[float, ...]:
        """Those of the blend's sources, in the order of `columns.BLENDED_SOURCES`."""
        return self.content.weight, self.covisitation.weight, self.popularity.weight


class Boost(Block):
    """Moves items up or down in every list that they are candidates of."""

    where: str = Field(min_length=1)
    """SQL predicate over the catalog, such as `brand = 'House'` or `updated_at > DATE'2026-06-01'`."""
    by: float = Field(ge=-1, le=1)
    """Share of the way from a list's last candidate to its first: 0.1 is a nudge, 1 lifts the last beside the first."""


class Rerank(Block):
    """From ranked candidates to the published list."""

    top_n: int = Field(20, ge=1)
    allow_repeats: bool = False
    """Whether items that the user already bought (or that the request holds) may be recommended."""
    category_cap: int = Field(0, ge=0)
    """At most this many items of one category a list (lifted, and counted, where it would fall short); 0: no cap."""
    category_level: int = Field(2, ge=1)
    """Levels of the category path that the cap compares."""
    brand_cap: int = Field(0, ge=0)
    """At most this many items of one brand a list, as the category cap holds; 0: no cap."""
    diversity: Share = 0.0
    """How much a list is to hold unlike items (maximal marginal relevance over the text vectors): 0 chooses by score
    alone, 0.3 is noticeable, 1 chooses by unlikeness alone. What is chosen stands in the order of the scores."""
    boosts: list[Boost] = []
    """Items that are to stand higher or lower than their scores say; where several match, they add up."""
    where: str = ""
    """SQL predicate over the catalog that an item must pass to be recommended, such as `price > 0`."""


class Lists(Block):
    """Which list tables the night makes."""

    users: bool = True
    similar_items: bool = True
    queries: int = Field(1000, ge=0)
    """Number of most frequent queries that get a list; 0: none."""
    requests: bool = True
    """Lists for the `requests` source, where one is configured."""


class Measure(Block):
    """How a night measures the lists that are out: what customers did since the newest date published before it."""

    days: int = Field(1, ge=1)
    """The lists are those of the newest date published at least so many days before; more days, more to go by."""
    event_types: list[EventType] = Field(["purchase"], min_length=1)
    """What counts as a hit."""
    min_keys: int = Field(100, ge=2)
    """Fewer users of whom something is known decide nothing."""


class Gates(Block):
    """Thresholds of the checks on staged rows; the other gates tolerate nothing."""

    min_full_share: Share = 0.995
    """Share of the lists with `rerank.top_n` items, or with all that are left where fewer may be recommended to the
    key."""
    max_quarantine_share: Share = 0.5
    """Share of the event rows within the window that may be quarantined."""
    min_items_to_recent: Share = 0.7
    """Items of the catalog, against the median of the (up to seven) published nights before: below it the catalog has
    not arrived in full (exit 10)."""
    min_eligible_to_recent: Share = 0.5
    """The same for items that may be recommended (exit 20)."""
    min_user_coverage: Share = 1.0
    """Share of the keys that must have a list; those for whom nothing is left, such as a user who has bought
    everything, are counted apart."""
    min_ndcg_to_recent: Share = 0.5
    """NDCG of the lists that are out (`measure`), against the median of the (up to seven) nights before: where all of
    its 95% interval is below, the night is blocked; where its mean is, a warning. 0: off."""
    min_agreement_to_recent: Share = 0.5
    """Items that the user lists share with the last published ones, as a share of their length, against the median of
    the nights before: below it the night is blocked, or warned of where the model is another one. 0: off."""
    max_top_share: Share = 0.5
    """Share of the rows of user lists that the 20 most shown items may take; above it: a warning. In a catalog of fewer
    than 80 items they may take twice their share of it."""
    min_shown_share: Share = 0.05
    """Items that stand in any user list, as a share of those that could (the eligible ones, or as many as there are
    rows); below it: a warning."""
    max_fallback_share: Share = 0.5
    """Share of the user lists that may hold nothing but popular items; above it: a warning."""


class Datasets(Block):
    """The training data that `make_datasets` writes: labels and splits."""

    splits: list[Split] = Field(list(DEFAULT_SPLITS))
    position_bias: Literal["user_item", "query_item", "none"] = "user_item"
    """How the position curve is fitted: by what one item got at several positions when shown to one user (right where
    rankings are personal) or for one query (more data, right where they are not); `none`: no correction."""
    max_position: int = Field(50, ge=2)
    """Deeper positions count as this one."""
    max_label_weight: float = Field(10.0, ge=1)
    """Ceiling of the inverse propensity, which otherwise lets a few deep clicks rule the training."""
    category_levels: int = Field(2, ge=1)
    """Levels of the category path that are labels."""

    @model_validator(mode="after")
    def _names_differ(self) -> "Datasets":
        names = [split.name for split in self.splits]
        if repeated := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"datasets.splits: the name {repeated[0]!r} stands twice; every split needs its own")
        return self


class Config(Block):
    """The whole configuration of a shop."""

    name: str = Field(pattern=r"^[A-Za-z_]\w*$")
    """Name of the config, by default the file's; names the lake folder."""
    seed: int = 0
    lake: Lake = Lake()
    sources: Sources
    prepare: Prepare = Prepare()
    expectations: Expectations = Expectations()
    item_text: ItemText = ItemText()
    encoder: Encoder = Encoder()
    retrieve: Retrieve = Retrieve()
    search: Search = Search()
    ranker: Ranker | None = None
    """The learned ranker; none where left out: then the candidates are blended."""
    rerank: Rerank = Rerank()
    experiment: Experiment | None = None
    """A/B arms over the users of `user_recommendations`; none where left out."""
    lists: Lists = Lists()
    measure: Measure = Measure()
    gates: Gates = Gates()
    datasets: Datasets = Datasets()
    ranker_training: RankerTraining = RankerTraining()
    training: Training = Training()
    pretrain: ShopPretrain = ShopPretrain()
    tracking: Tracking = Tracking()
    tune: Tune | None = None
    label: ActiveLearning = ActiveLearning()
    compress: Compress = Compress()
    maintain: Maintain = Maintain()
    forget: Forget = Forget()

    @field_validator("ranker", mode="before")
    @classmethod
    def _name_alone(cls, ranker: object) -> object:
        return {"model": ranker} if isinstance(ranker, str) else ranker

    @model_validator(mode="after")
    def _arms_resolve(self) -> "Config":
        for arm in self.experiment.arms if self.experiment is not None else ():
            try:
                arm.applied_to(self.retrieve, "retrieve")
                arm.applied_to(self.rerank, "rerank")
            except ConfigError as error:
                raise ValueError(f"experiment.arms: arm {arm.name}: {error}") from None
        return self


if set(BLENDED_SOURCES) != {"content", "covisitation", "popularity"} or get_args(EventType) != EVENT_TYPES:
    raise AssertionError("the Literal types above repeat columns.BLENDED_SOURCES and columns.EVENT_TYPES")
