"""The learned ranker: which model scores the candidates, what its sources propose, and what it learns from."""

import re
from typing import Literal

from pydantic import Field, field_validator

from recsys_batch.contracts.columns import CANDIDATE_SOURCES
from recsys_batch.contracts.config.block import Block, EventType

_SOURCE = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")


class Ranker(Block):
    """A ranker scores what all sources propose; without this block the blend of `retrieve` does.

    Lists of a kind that the version has no model for are blended.
    """

    model: str = Field("registry:ranker", pattern=r"^registry:[A-Za-z_][\w-]*(@[0-9a-f]{12})?$")
    """`registry:NAME` (the champion) or `registry:NAME@VERSION`; `ranker: registry:NAME` is short for the block."""
    sources: list[str] = Field([], max_length=5)
    """The shop's own candidate sources, `MODULE:FUNCTION` each (docs/ranking.md)."""
    candidates: int = Field(100, ge=10)
    """What each of the ranker's own sources proposes."""
    neighbors: int = Field(200, ge=10)
    """Neighbors kept of an item in each of its item-item models."""
    max_acts: int = Field(300, ge=10)
    """Newest acts of a user (one an item and day) that features are made of."""
    ease_l2: float = Field(300.0, gt=0)
    """Regularization of EASE, the closed-form item model."""
    ease_max_items: int = Field(8000, ge=0)
    """Larger catalogs go without EASE: its time grows with the cube of the number of items that anyone acted on."""
    reference_users: int = Field(20_000, ge=0)
    """Users, of those who acted last, that `user_knn` looks for neighbors among."""

    @field_validator("sources")
    @classmethod
    def _are_named_apart(cls, sources: list[str]) -> list[str]:
        names = [*CANDIDATE_SOURCES]
        for source in sources:
            if not _SOURCE.fullmatch(source):
                raise ValueError(f"{source!r} is not of the form MODULE:FUNCTION, such as my_shop.sources:near_price")
            if (name := source.partition(":")[2]) in names:
                raise ValueError(f"{source!r}: another source is called {name}; rename the function")
            names.append(name)
        return sources


class RankerTraining(Block):
    """What `train --ranker` learns from: nights of earlier dates, and what customers did in the days after each."""

    name: str = Field("ranker", pattern=r"^[A-Za-z_][\w-]*$")
    """What its versions are registered as."""
    event_types: list[EventType] = Field(["purchase"], min_length=1)
    """What is wanted: acts of these types."""
    replay: Literal["days", "last_acts"] = "days"
    """`days`: what came in the `days` after each cut; `last_acts`, for a log without a clock: each user's last acts,
    held out one by one."""
    days: int = Field(30, ge=1)
    """Days after a cut whose acts are wanted, as long as lists are meant to hold."""
    step: int = Field(0, ge=0)
    """Days between cuts; 0: as many as `days`, so that no act is wanted at two of them. Fewer make more of a log."""
    cuts: int = Field(4, ge=1)
    """Earlier dates (or held-out acts a user) to learn from; the newest is `days` before the date of the training."""
    max_users: int = Field(4000, ge=100)
    """Users (of request lists: moments) with something wanted that a cut is learned from; of more a sample."""
    negatives: int = Field(0, ge=0)
    """About how many candidates that were not wanted are learned from, of each profile; 0: all. Fewer learn faster."""
    min_profiles: int = Field(100, ge=10)
    """Fewer profiles with something wanted among their candidates are too few to learn from."""
    test_share: float = Field(0.2, gt=0, lt=1)
    """Share of the newest cut's users that are not learned from: on them a version is measured, and promoted."""
    trees: int = Field(200, ge=1)
    leaves: int = Field(31, ge=2)
    learning_rate: float = Field(0.05, gt=0, le=1)
    draws: int = Field(1, ge=1, le=20)
    """Models of other random draws each, whose mean score ranks; where there is little to learn from, several are
    steadier than one. Scoring takes as many times as long."""
    automatic: bool = True
    """Whether a version that is not worse becomes the champion."""

    @field_validator("event_types")
    @classmethod
    def _are_distinct(cls, event_types: list[str]) -> list[str]:
        if len(set(event_types)) < len(event_types):
            raise ValueError("a type stands twice")
        return event_types
