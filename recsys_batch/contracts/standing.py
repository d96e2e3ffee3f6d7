"""Which of a date's releases stands: one rule for all readers, with Spark or without."""

from collections.abc import Iterable
from typing import Any, Protocol, TypeVar


class Named(Protocol):
    """A row whose values go by name: a dict, or a row of Spark."""

    def __getitem__(self, name: str, /) -> Any:
        """Return the value of a column."""


R = TypeVar("R", bound=Named)


def standing_release(releases: Iterable[R], claim: Named | None) -> R | None:
    """Return the row of `releases` that stands for a date, by the date's row of `publications`; else None.

    A publication that is under way or was cut short has no row of `releases` yet: until then the one stands that it is
    to replace. No clock decides.
    """
    by_id = {row["release_id"]: row for row in releases}
    for release_id in (claim["release_id"], claim["replaces"]) if claim is not None else ():
        if release_id in by_id:
            return by_id[release_id]
    # Releases of versions that kept no `publications`.
    return max(by_id.values(), key=lambda row: (row["published_at"], row["release_id"]), default=None)
