"""What every block of the configuration is: frozen, strictly typed, unknown keys refused."""

from typing import Annotated, Literal
from zoneinfo import available_timezones

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

Share = Annotated[float, Field(ge=0.0, le=1.0)]
EventType = Literal[
    "search", "impression", "view", "click", "cart", "purchase", "return", "rating", "favorite", "unfavorite"
]


def _is_known(zone: str) -> str:
    if zone and zone not in available_timezones():
        raise ValueError(f"{zone!r} is no time zone of the IANA database, such as Europe/Berlin or UTC")
    return zone


Zone = Annotated[str, AfterValidator(_is_known)]


class Block(BaseModel):
    """Base of every block of the config file."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)
