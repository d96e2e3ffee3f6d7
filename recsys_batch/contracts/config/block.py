"""What every block of the configuration is: frozen, strictly typed, unknown keys refused."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Share = Annotated[float, Field(ge=0.0, le=1.0)]
EventType = Literal[
    "search", "impression", "view", "click", "cart", "purchase", "return", "rating", "favorite", "unfavorite"
]


class Block(BaseModel):
    """Base of every block of the config file."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)
