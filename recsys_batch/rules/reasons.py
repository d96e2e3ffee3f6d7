"""The sentence that tells a shopper why an item is in the list."""

from typing import Final, Literal

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


def explain(list_kind: ListKind, source: str, anchor_title: str, event_type: str) -> tuple[str, str]:
    """Return the reason's kind and text.

    `source` is the candidate source that gave the largest part of the score, `anchor_title` the history item (or the
    query) that explains it, `event_type` what the user did with the anchor. Without an anchor the item is popular.
    """
    if list_kind == "request" and source == "content" and not anchor_title:
        return "query", "matches your request"
    if source == "popularity" or not anchor_title:
        return POPULAR, "popular with other customers"
    if list_kind == "query":
        return "query", f'matches "{anchor_title}"'
    together = source == "covisitation"
    if list_kind == "item":
        return (
            ("together", f"often bought with {anchor_title}") if together else ("similar", f"similar to {anchor_title}")
        )
    if list_kind == "request":
        return ("together", f"goes with {anchor_title}") if together else ("similar", f"similar to {anchor_title}")
    verb = _VERBS.get(event_type, "looked at")
    return ("together" if together else "similar"), f"because you {verb} {anchor_title}"
