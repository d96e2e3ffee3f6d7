"""What to generate: the validated arguments of a demo shop, and its calendar."""

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Final

from recsys_batch.contracts.errors import ConfigError

DAY_MS: Final = 86_400_000
MIN_USERS: Final = 20
MAX_USERS: Final = 2**35
MIN_ITEMS: Final = 200
MAX_ITEMS: Final = 5_000_000
MIN_DAYS: Final = 7
MAX_DAYS: Final = 3660
_FIRST_END: Final = date(1990, 1, 1)
_LAST_END: Final = date(2090, 1, 1)


@dataclass(frozen=True)
class ShopSpec:
    """The arguments that determine every row. `end` is the last day, included."""

    num_users: int = 2000
    num_items: int = 1200
    num_days: int = 60
    end: date = date(2026, 6, 30)
    seed: int = 7

    def __post_init__(self) -> None:
        """Refuse what cannot make a shop."""
        _require("users", self.num_users, MIN_USERS, MAX_USERS)
        _require("items", self.num_items, MIN_ITEMS, MAX_ITEMS)
        _require("days", self.num_days, MIN_DAYS, MAX_DAYS)
        _require("seed", self.seed, 0, 2**63 - 1)
        # Outside these years an honest timestamp could not be told from a planted clock error.
        if not _FIRST_END <= self.end <= _LAST_END:
            raise ConfigError(f"end: {self.end} is not between {_FIRST_END} and {_LAST_END}")

    @property
    def start(self) -> date:
        """The first day."""
        return self.end - timedelta(days=self.num_days - 1)

    @property
    def start_day(self) -> int:
        """The first day, in days since 1970."""
        return (self.start - date(1970, 1, 1)).days

    @property
    def start_ms(self) -> int:
        """Midnight (UTC) of the first day, in milliseconds since 1970."""
        return self.start_day * DAY_MS

    @property
    def stop_ms(self) -> int:
        """Midnight (UTC) after the last day, in milliseconds since 1970."""
        return self.start_ms + self.num_days * DAY_MS


def _require(name: str, value: int, low: int, high: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise ConfigError(f"{name}: {value!r} is not a whole number from {low} to {high}")


def render_ms(value: int) -> str:
    """Write milliseconds since 1970 as ISO-8601 in UTC."""
    return datetime.fromtimestamp(value / 1000, tz=UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
