"""How interactions are split into train, valid and test."""

from typing import Final, Literal

from pydantic import Field, model_validator

from recsys_batch.contracts.config.block import Block, Share

SplitKind = Literal["time", "leave_last_k", "user", "cold_items", "cold_users"]


class Split(Block):
    """One way of splitting the interactions into train, valid and test."""

    name: str = Field(pattern=r"^[A-Za-z_]\w*$")
    """Names the folder: `datasets/<name>/interactions`."""
    kind: SplitKind
    """`time`: the last days; `leave_last_k`: each user's last items; `user`, `cold_users`: all of the chosen users;
    `cold_items`: everything about the chosen items."""
    valid_days: int = Field(7, ge=0)
    """Kind `time`: days before the test days."""
    test_days: int = Field(7, ge=1)
    """Kind `time`: days up to and including `ds`."""
    k: int = Field(1, ge=1)
    """Kind `leave_last_k`: each user's last k distinct items are the test, the k before them valid."""
    short_users: Literal["drop", "train"] = "drop"
    """Kind `leave_last_k`: what becomes of users with too few items to leave one for training."""
    repeats: Literal["drop", "keep"] = "drop"
    """Kind `time`: whether valid and test keep pairs of user and item that an earlier part has."""
    valid_share: Share = 0.1
    """Other kinds: share of the users or items."""
    test_share: Share = 0.1

    @model_validator(mode="after")
    def _something_is_left_to_train_on(self) -> "Split":
        if self.valid_share + self.test_share >= 1.0:
            raise ValueError(
                f"datasets.splits.{self.name}: valid_share {self.valid_share} and test_share {self.test_share} leave "
                "nothing to train on; their sum must be below 1"
            )
        return self


DEFAULT_SPLITS: Final = (
    Split(name="time", kind="time"),
    Split(name="leave_last", kind="leave_last_k"),
    Split(name="users", kind="user"),
    Split(name="cold_items", kind="cold_items", valid_share=0.0),
    Split(name="cold_users", kind="cold_users", valid_share=0.0),
)
