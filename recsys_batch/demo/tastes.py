"""Who the users are: accounts, interests, languages, budgets and how often they come."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np

from recsys_batch.demo.catalog import NUM_LEAVES
from recsys_batch.demo.dirt import MAX_BOTS, USERS_PER_BOT, USERS_PER_RESELLER, USERS_PER_TEST_ACCOUNT
from recsys_batch.demo.draws import FloatArray, IntArray, integers, normal, uniform, weighted
from recsys_batch.demo.spec import ShopSpec
from recsys_batch.demo.vocabulary import AXIS_SIZES, BRANDS

PERSON: Final = 0
BOT: Final = 1
RESELLER: Final = 2
TEST: Final = 3

LANGUAGES: Final = ("en", "zh", "both")
LANGUAGE_SHARES: Final = (0.52, 0.36, 0.12)
MAX_INTERESTS: Final = 3
INTEREST_COUNT_SHARES: Final = (0.35, 0.40, 0.25)
SAME_DEPARTMENT_SHARE: Final = 0.4
# By the last day, this share of the strongest interest's weight has moved to the weakest.
DRIFT: Final = 0.25
# Share of people who are there from the first day; the others join on a day drawn evenly from all but the last.
FOUNDER_SHARE: Final = 0.7
SESSIONS_LOG_MEAN: Final = 1.25
SESSIONS_LOG_DEVIATION: Final = 0.95
MAX_SESSIONS: Final = 400
_LEAVES_PER_DEPARTMENT: Final = 3


@dataclass(frozen=True)
class Tastes:
    """One entry a user; arrays with interests are users x 3, with leaf -1 and weight 0 where there are fewer."""

    user: IntArray
    account: IntArray
    language: IntArray
    leaf: IntArray
    weight: FloatArray
    brand: IntArray  # the favorite brand within the interest
    style: IntArray  # the favorite value on the leaf's first axis
    price_level: FloatArray
    joined: IntArray  # day of the shop's calendar
    num_sessions: IntArray
    hour: FloatArray  # the hour (UTC) around which the user shops

    def __len__(self) -> int:
        """Return the number of users."""
        return len(self.user)


def draw_tastes(spec: ShopSpec, users: IntArray) -> Tastes:
    """Draw the tastes of the users with these indexes."""
    seed = spec.seed
    account = find_accounts(spec, users)
    leaf, weight = _draw_interests(seed, users)
    tasteless = (account != PERSON)[:, None]
    language = weighted(uniform(seed, "user/language", users), LANGUAGE_SHARES)
    activity = np.exp(SESSIONS_LOG_MEAN + SESSIONS_LOG_DEVIATION * normal(seed, "user/activity", users))
    founder = uniform(seed, "user/founder", users) < FOUNDER_SHARE
    joined = np.where(founder, 0, integers(seed, "user/joined", spec.num_days - 1, users))
    # Half of the year's activity does not fit in what is left of a late joiner's season.
    share = 1.0 - 0.5 * joined / spec.num_days
    local_hour = np.where(uniform(seed, "user/owl", users) < 0.7, 20.0, 11.0) + normal(seed, "user/hour", users)
    shift = np.where(language == LANGUAGES.index("zh"), 8.0, 0.0)
    interests = np.arange(MAX_INTERESTS)[None, :]
    return Tastes(
        user=users,
        account=account,
        language=language,
        leaf=np.where(tasteless, -1, leaf),
        weight=np.where(tasteless, 0.0, weight),
        brand=integers(seed, "user/brand", BRANDS, users[:, None], interests),
        style=integers(seed, "user/style", AXIS_SIZES[0], users[:, None], interests),
        price_level=uniform(seed, "user/price", users),
        joined=joined,
        num_sessions=np.clip(np.ceil(activity * share), 1, MAX_SESSIONS).astype(np.int64),
        hour=(local_hour - shift) % 24,
    )


def drifted_weights(tastes: Tastes, rows: IntArray, progress: FloatArray) -> FloatArray:
    """Return the interests' weights (rows x 3) at a progress from 0 (first day) to 1 (last day)."""
    weight = tastes.weight[rows].copy()
    count = (tastes.leaf[rows] >= 0).sum(axis=1)
    moved = np.where(count > 1, DRIFT * progress * weight[:, 0], 0.0)
    weight[:, 0] -= moved
    weight[np.arange(len(rows)), np.maximum(count - 1, 0)] += moved
    return weight


def _draw_interests(seed: int, users: IntArray) -> tuple[IntArray, FloatArray]:
    appeal = np.exp(0.4 * normal(seed, "leaf/appeal", np.arange(NUM_LEAVES)))
    first = weighted(uniform(seed, "user/leaf", users, 0), appeal)
    others = []
    for place in (1, 2):
        neighbor = first - first % _LEAVES_PER_DEPARTMENT + (first + place) % _LEAVES_PER_DEPARTMENT
        close = uniform(seed, "user/close", users, place) < SAME_DEPARTMENT_SHARE
        others.append(np.where(close, neighbor, weighted(uniform(seed, "user/leaf", users, place), appeal)))
    second, third = others
    second = np.where(second == first, (second + 7) % NUM_LEAVES, second)
    third = np.where((third == first) | (third == second), (first + 11) % NUM_LEAVES, third)
    third = np.where(third == second, (first + 17) % NUM_LEAVES, third)
    count = 1 + weighted(uniform(seed, "user/interests", users), INTEREST_COUNT_SHARES)
    present = np.arange(MAX_INTERESTS)[None, :] < count[:, None]
    leaf = np.where(present, np.stack([first, second, third], axis=1), -1)
    spread = 0.4 + uniform(seed, "user/weight", users[:, None], np.arange(MAX_INTERESTS)[None, :])
    weight = np.where(present, np.sort(spread, axis=1)[:, ::-1], 0.0)
    weight = -np.sort(-weight, axis=1)
    return leaf, weight / weight.sum(axis=1, keepdims=True)


def find_accounts(spec: ShopSpec, users: IntArray) -> IntArray:
    """Tell people from bots, resellers and test accounts."""
    special = _special_accounts(spec)
    places = np.searchsorted(special[0], users)
    places = np.minimum(places, len(special[0]) - 1)
    return np.where(special[0][places] == users, special[1][places], PERSON)


@lru_cache(maxsize=2)
def _special_accounts(spec: ShopSpec) -> tuple[IntArray, IntArray]:
    """Scatter the special accounts over the user indexes; sorted by index."""
    bots = min(max(spec.num_users // USERS_PER_BOT, 1), MAX_BOTS)
    resellers = min(max(spec.num_users // USERS_PER_RESELLER, 1), MAX_BOTS)
    tests = max(spec.num_users // USERS_PER_TEST_ACCOUNT, 1)
    kinds = [BOT] * bots + [RESELLER] * resellers + [TEST] * tests
    # Distinct without a table of all users: one from each of as many equal stretches.
    edges = np.arange(len(kinds) + 1) * spec.num_users // len(kinds)
    index = edges[:-1] + integers(spec.seed, "account/index", np.diff(edges), np.arange(len(kinds)))
    shuffled = np.argsort(uniform(spec.seed, "account/kind", np.arange(len(kinds))), kind="stable")
    return index, np.array(kinds, dtype=np.int64)[shuffled]


def user_names(users: IntArray, accounts: IntArray) -> list[str]:
    """Write the clean user ids."""
    return [
        f"test_{user:07d}" if account == TEST else f"u{user:07d}"
        for user, account in zip(users.tolist(), accounts.tolist(), strict=True)
    ]
