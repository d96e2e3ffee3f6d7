"""The one vocabulary of table and column names, grouped by table. A name used by two modules lives here."""

from typing import Final

EVENT_TYPES: Final = (
    "search",
    "impression",
    "view",
    "click",
    "cart",
    "purchase",
    "return",
    "rating",
    "favorite",
    "unfavorite",
)


class Inputs:
    """Input tables: column -> Spark SQL type, and which columns a source's `select` must give."""

    TYPES: Final[dict[str, dict[str, str]]] = {
        "events": {
            "event_id": "string",
            "user_id": "string",
            "item_id": "string",
            "event_type": "string",
            "event_time": "timestamp",
            "query": "string",
            "quantity": "double",
            "rating": "double",
            "session_id": "string",
            "position": "int",
            "domain": "string",
            "received_at": "timestamp",
        },
        "items": {
            "item_id": "string",
            "title": "string",
            "description": "string",
            "category": "string",
            "brand": "string",
            "price": "double",
            "currency": "string",
            "attributes": "map<string,string>",
            "image_uri": "string",
            "available": "boolean",
            "domain": "string",
            "updated_at": "timestamp",
        },
        "reviews": {
            "item_id": "string",
            "user_id": "string",
            "rating": "double",
            "text": "string",
            "review_time": "timestamp",
        },
        "requests": {"request_id": "string", "item_ids": "array<string>", "query": "string"},
        "exclusions": {"user_id": "string", "request_id": "string", "item_id": "string"},
        "targets": {"request_id": "string", "item_id": "string"},
    }
    OF_NIGHT: Final = ("events", "items", "reviews", "requests", "exclusions")
    """Those that a night reads; `targets` are for measuring it."""
    REQUIRED: Final[dict[str, tuple[str, ...]]] = {
        "events": ("user_id", "event_type", "event_time"),
        "items": ("item_id", "title"),
        "reviews": ("item_id", "text"),
        "requests": ("request_id",),
        "exclusions": ("item_id",),
        "targets": ("request_id", "item_id"),
    }


class Tables:
    """Folder names below `lake.root`, which are table names in a catalog too."""

    USER_RECOMMENDATIONS: Final = "user_recommendations"
    QUERY_RECOMMENDATIONS: Final = "query_recommendations"
    SIMILAR_ITEMS: Final = "similar_items"
    REQUEST_RECOMMENDATIONS: Final = "request_recommendations"
    RELEASES: Final = "releases"
    QUALITY_METRICS: Final = "quality_metrics"

    INTERACTIONS: Final = "interactions"
    ITEMS: Final = "items"
    ITEM_HISTORY: Final = "item_history"
    ACCOUNTS: Final = "accounts"
    REVIEWS: Final = "reviews"
    REQUESTS: Final = "requests"
    EXCLUSIONS: Final = "exclusions"
    ID_INDICES: Final = "id_indices"
    USER_HISTORIES: Final = "user_histories"
    QUERY_UNDERSTANDING: Final = "query_understanding"
    EMBEDDINGS: Final = "embeddings"
    EMBEDDING_ORPHANS: Final = "embedding_orphans"
    PUBLICATIONS: Final = "publications"
    RUN_STATUS: Final = "run_status"
    SUPPRESSED_USERS: Final = "suppressed_users"
    FORGET_CERTIFICATES: Final = "forget_certificates"

    DATASETS: Final = "datasets"
    """Folder of the training data: `datasets/labels/<table>`, `datasets/<split>/<table>`."""
    QUERY_ITEMS: Final = "query_items"
    RATINGS: Final = "ratings"
    CATEGORY_LABELS: Final = "category_labels"
    TRAINING_TEXTS: Final = "training_texts"


class Lists:
    """The published list tables: which column is the key and which is the recommended item."""

    KEY: Final[dict[str, str]] = {
        Tables.USER_RECOMMENDATIONS: "user_id",
        Tables.QUERY_RECOMMENDATIONS: "query",
        Tables.SIMILAR_ITEMS: "item_id",
        Tables.REQUEST_RECOMMENDATIONS: "request_id",
    }
    ITEM: Final[dict[str, str]] = {
        Tables.USER_RECOMMENDATIONS: "item_id",
        Tables.QUERY_RECOMMENDATIONS: "item_id",
        Tables.SIMILAR_ITEMS: "similar_item_id",
        Tables.REQUEST_RECOMMENDATIONS: "item_id",
    }


CONTENT: Final = "content"
COVISITATION: Final = "covisitation"
POPULARITY: Final = "popularity"
REPURCHASE: Final = "repurchase"
ITEM_KNN: Final = "item_knn"
BASKET: Final = "basket"
NEXT_BASKET: Final = "next_basket"
EASE: Final = "ease"
USER_KNN: Final = "user_knn"
TRENDING: Final = "trending"
WORDS: Final = "words"
SEARCHERS: Final = "searchers"
CATEGORY: Final = "category"
# Those that the blend joins; the others propose, and give evidence, where a ranker scores.
BLENDED_SOURCES: Final = (CONTENT, COVISITATION, POPULARITY)
# Those that propose to queries alone: by their words, by what came of them, and by the category that they are about.
SEARCH_SOURCES: Final = (WORDS, SEARCHERS, CATEGORY)
# Those that propose the same to everyone.
SHARED_SOURCES: Final = (POPULARITY, TRENDING)
# The order is the bit order of `proposed` in the candidates table: append, never reorder.
CANDIDATE_SOURCES: Final = (
    *BLENDED_SOURCES,
    REPURCHASE,
    ITEM_KNN,
    BASKET,
    NEXT_BASKET,
    EASE,
    USER_KNN,
    TRENDING,
    *SEARCH_SOURCES,
)

# The order is the code of an event type in a history's `event_type_codes`.
EVENT_TYPE_CODES: Final[dict[str, int]] = {name: code for code, name in enumerate(EVENT_TYPES)}
