"""How often do the intervals of off-policy estimates hold the truth? Counted in the demo shop, where it is known.

    python -m benchmarks.off_policy_coverage --simulations 1000

Pages, the appeal of their items to their users, and who looks at which position come from the demo shop. A logger of
known chances shows items, shoppers click as the shop's do, and another policy is estimated from that log. What it
earns in truth is an exact expectation over all pages, items and positions. Prints one row a policy and method.
"""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from recsys_batch.demo.behavior import CLICK_BIAS, EXAMINATION
from recsys_batch.demo.catalog import build_catalog
from recsys_batch.demo.sessions import DIRECT_SESSION, MAX_PAGE, draw_pages, draw_sessions
from recsys_batch.demo.spec import ShopSpec
from recsys_batch.demo.tastes import draw_tastes
from recsys_batch.rules.metrics.off_policy import LoggedActions, ValueEstimate, estimate_value

FloatArray = npt.NDArray[np.float64]
EXAMINED_K = np.array(EXAMINATION)


@dataclass(frozen=True)
class Pages:
    """Pages of eight items, in the order in which the shop shows them."""

    features_PKF: FloatArray
    """What a model of clicks may know: a constant, the item's quality, how far its price is from the user's."""
    relevance_PK: FloatArray
    """Chance of a click on the item where it is looked at."""


@dataclass(frozen=True)
class Trial:
    """A log of a policy to estimate, the methods to try, and what the policy earns in truth a row."""

    log: LoggedActions
    truth: float


def draw_shop(num_users: int = 1500, seed: int = 11) -> Pages:
    """Return the full pages of a demo shop's sessions that show lists."""
    spec = ShopSpec(num_users=num_users, num_items=5_000, num_days=40, seed=seed)
    catalog, tastes = build_catalog(spec), draw_tastes(spec, np.arange(num_users))
    sessions = draw_sessions(spec, tastes)
    pages = draw_pages(spec, catalog, tastes, sessions)
    full_P = pages.shown.all(axis=1) & (sessions.kind != DIRECT_SESSION)
    item_PK = pages.item[full_P]
    distance_PK = np.abs(catalog.price_level[item_PK] - tastes.price_level[sessions.row[full_P]][:, None])
    features_PKF = np.stack([np.ones(item_PK.shape), catalog.quality[item_PK], distance_PK], axis=2)
    return Pages(features_PKF, 1 / (1 + np.exp(-(CLICK_BIAS + pages.appeal[full_P]))))


def log_choices(shop: Pages, size: int, greed: float, explores: float, seed: int) -> Trial:
    """Log one item a page, which everyone looks at; the target prefers what appeals, the more the higher `greed`.

    The logger takes the page's items by the shop's order, and with chance `explores` any of them. Predictions are a
    linear model of the clicks in another log of the same size, which knows only half of what makes the shoppers click.
    """
    rng = np.random.default_rng(seed)
    logger_K = (1 - explores) * _softmax(-0.5 * np.arange(MAX_PAGE)) + explores / MAX_PAGE
    target_PK = _softmax(greed * np.log(shop.relevance_PK))
    coefficients_F = _fit_clicks(shop, size, logger_K, rng)
    page_N, slot_N, click_N = _draw_choices(shop, size, logger_K, rng)
    predicted_NK = shop.features_PKF[page_N] @ coefficients_F
    log = LoggedActions(
        click_N,
        logger_K[slot_N],
        target_PK[page_N, slot_N],
        predicted_NK[np.arange(size), slot_N],
        (target_PK[page_N] * predicted_NK).sum(axis=1),
    )
    return Trial(log, float((target_PK * shop.relevance_PK).sum(axis=1).mean()))


def log_lists(shop: Pages, size: int, model: str, explores: float, seed: int) -> Trial:
    """Log whole pages in the shop's order, with chance `explores` shuffled; the target sorts by relevance.

    `model` is "item_position" or "position_based", as `LoggedActions` has them.
    """
    rng = np.random.default_rng(seed)
    page_N = rng.integers(0, len(shop.relevance_PK), size)
    places = np.arange(MAX_PAGE)
    order_NK = np.where(
        rng.random((size, 1)) < explores, rng.permuted(np.tile(places, (size, 1)), axis=1), places
    )  # the item of the shop's order at each position
    rank_PK = np.argsort(np.argsort(-shop.relevance_PK, axis=1, kind="stable"), axis=1)
    rank_NK = np.take_along_axis(rank_PK[page_N], order_NK, axis=1)
    relevance_NK = np.take_along_axis(shop.relevance_PK[page_N], order_NK, axis=1)
    click_NK = rng.random((size, MAX_PAGE)) < EXAMINED_K * relevance_NK
    if model == "item_position":
        propensity_NK = (1 - explores) * (order_NK == places) + explores / MAX_PAGE
        target_NK, exposure_NK = (rank_NK == places).astype(np.float64), np.ones((size, MAX_PAGE))
    else:
        propensity_NK = (1 - explores) * EXAMINED_K[order_NK] + explores * EXAMINED_K.mean()
        target_NK, exposure_NK = EXAMINED_K[rank_NK], np.tile(EXAMINED_K, (size, 1))
    log = LoggedActions(
        click_NK.ravel().astype(np.float64),
        propensity_NK.ravel(),
        target_NK.ravel(),
        units_N=np.repeat(np.arange(size), MAX_PAGE),
        exposures_N=exposure_NK.ravel(),
    )
    best_PK = -np.sort(-shop.relevance_PK, axis=1)
    return Trial(log, float((EXAMINED_K * best_PK).mean()))


def _draw_choices(
    shop: Pages, size: int, logger_K: FloatArray, rng: np.random.Generator
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], FloatArray]:
    page_N = rng.integers(0, len(shop.relevance_PK), size)
    slot_N = rng.choice(MAX_PAGE, size, p=logger_K)
    click_N = rng.random(size) < shop.relevance_PK[page_N, slot_N]
    return page_N, slot_N, click_N.astype(np.float64)


def _fit_clicks(shop: Pages, size: int, logger_K: FloatArray, rng: np.random.Generator) -> FloatArray:
    page_N, slot_N, click_N = _draw_choices(shop, size, logger_K, rng)
    coefficients_F: FloatArray = np.linalg.lstsq(shop.features_PKF[page_N, slot_N], click_N)[0]
    return coefficients_F


def _softmax(scores: FloatArray) -> FloatArray:
    exp = np.exp(scores - scores.max(axis=-1, keepdims=True))
    shares: FloatArray = exp / exp.sum(axis=-1, keepdims=True)
    return shares


# name: (how to log, its arguments, methods)
SCENARIOS = {
    "one item": (log_choices, {"size": 2_000, "greed": 3.0, "explores": 0.3}, ("ips", "snips", "dr", "dm")),
    "list, item-position": (
        log_lists,
        {"size": 2_000, "model": "item_position", "explores": 0.3},
        ("ips", "snips"),
    ),
    "list, position-based": (
        log_lists,
        {"size": 2_000, "model": "position_based", "explores": 0.3},
        ("ips", "snips"),
    ),
    "one item, small log": (log_choices, {"size": 200, "greed": 30.0, "explores": 0.03}, ("ips", "snips", "dr")),
    "list, item-position, little exploration": (
        log_lists,
        {"size": 2_000, "model": "item_position", "explores": 0.005},
        ("ips", "snips"),
    ),
}


def simulate(shop: Pages, name: str, simulations: int, **options) -> Iterator[tuple[str, float, ValueEstimate]]:
    """Yield (method, truth, estimate) for each simulation of a scenario, seeded by its number."""
    make_log, arguments, methods = SCENARIOS[name]
    for seed in range(simulations):
        trial = make_log(shop, seed=seed, **arguments)
        for method in methods:
            yield method, trial.truth, estimate_value(trial.log, method, **options)


def holds(found: ValueEstimate, truth: float) -> bool:
    """Whether the truth lies in the interval."""
    return found.interval.low <= truth <= found.interval.high


def main() -> None:
    """Parse, simulate, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--simulations", type=int, default=1000)
    parser.add_argument("--interval", choices=("normal", "bootstrap"), default="normal")
    args = parser.parse_args()
    shop = draw_shop()
    print(f"{len(shop.relevance_PK)} pages; {args.simulations} simulations; {args.interval} intervals")
    print("| log | method | truth | mean | deviation | width | holds the truth | effective sample | warned |")
    for name in SCENARIOS:
        by_method: dict[str, list[tuple[float, ValueEstimate]]] = {}
        for method, truth, found in simulate(shop, name, args.simulations, interval=args.interval):
            by_method.setdefault(method, []).append((truth, found))
        for method, rows in by_method.items():
            truth = rows[0][0]
            values = np.array([found.value for _, found in rows])
            held = np.mean([holds(found, truth) for _, found in rows])
            width = np.mean([found.interval.high - found.interval.low for _, found in rows])
            effective = np.median([found.effective_units for _, found in rows])
            warned = np.mean([bool(found.warnings) for _, found in rows])
            print(
                f"| {name} | `{method}` | {truth:.4f} | {values.mean():.4f} | {values.std():.4f} | {width:.4f} | "
                f"{held:.1%} | {effective:.0f} of {rows[0][1].num_units} | {warned:.1%} |"
            )


if __name__ == "__main__":
    main()
