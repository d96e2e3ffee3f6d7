"""The sentence that tells a shopper why an item is in the list."""

from typing import Final, Literal

from recsys_batch.contracts.columns import (
    BASKET,
    CONTENT,
    COVISITATION,
    EASE,
    ITEM_KNN,
    NEXT_BASKET,
    REPURCHASE,
    SHARED_SOURCES,
    USER_KNN,
)

ListKind = Literal["user", "query", "item", "request"]

_VERBS: Final = {
    "purchase": "bought",
    "cart": "put in your cart",
    "favorite": "like",
    "rating": "rated",
    "click": "looked at",
    "view": "looked at",
}
POPULAR: Final = "popular"
TOGETHER: Final = (COVISITATION, ITEM_KNN, BASKET, NEXT_BASKET, EASE)
"""Sources that go by what the same customers acted on."""
_TEXTS: Final = {
    ("item", "together"): "often bought with ",
    ("item", "similar"): "similar to ",
    ("request", "together"): "goes with ",
    ("request", "similar"): "similar to ",
    ("user", "together"): "because you {verb} ",
    ("user", "similar"): "because you {verb} ",
}


def explain(list_kind: ListKind, source: str, anchor_title: str, event_type: str) -> tuple[str, str]:
    """Return the reason's kind and text.

    `source` is the candidate source that speaks most for the item, `anchor_title` the history item (or the query) that
    explains it, `event_type` what the user did with the anchor, or with the item itself where it is bought again.
    Without an anchor the item is popular.
    """
    verb = _VERBS.get(event_type, "looked at")
    if source == REPURCHASE:
        return "again", f"you {verb} it before"
    if source == USER_KNN:
        return "customers", "chosen by customers like you"
    if list_kind == "request" and source == CONTENT and not anchor_title:
        return "query", "matches your request"
    if source in SHARED_SOURCES or not anchor_title:
        return POPULAR, "popular with other customers"
    if list_kind == "query":
        return "query", f'matches "{anchor_title}"'
    kind = "together" if source in TOGETHER else "similar"
    return kind, _TEXTS[list_kind, kind].format(verb=verb) + anchor_title
