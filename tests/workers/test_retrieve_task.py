"""Candidate generation against a reference that scores every item of the catalog by loops."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from recsys_batch.contracts.config.night import Content, Covisitation, Popularity, Retrieve
from recsys_batch.contracts.schemas import PROFILES
from recsys_batch.workers import encode
from recsys_batch.workers import retrieve as retrieve_module
from recsys_batch.workers.retrieve import RetrieveCandidates

CONFIG = Retrieve(
    position_half_life=2.0,
    content=Content(candidates=6, sharpness=2.0, mode="sum"),
    covisitation=Covisitation(candidates=5),
    popularity=Popularity(candidates=4),
    item_block=7,
    profile_block=3,
)
FLOATS = ("history_weights", "vector", "content", "covisitation", "popularity")


def draw_profiles(seed: int, num_items: int, width: int, number: int = 14) -> list[dict[str, Any]]:
    """Return random profiles; the first ones are the special cases."""
    rng = np.random.default_rng(seed)
    profiles = []
    for place in range(number):
        history = [] if place < 3 else rng.permutation(num_items)[: rng.integers(1, 6)].tolist()
        profiles.append(
            {
                "key": f"profile-{place}",
                "history": history,
                "history_weights": [float(rng.integers(1, 5)) / 4 for _ in history],
                "history_codes": [5] * len(history),
                "seen": rng.permutation(num_items)[: rng.integers(0, 12)].tolist(),
                "vector": None,
            }
        )
    # 0: nothing but what it saw; 1: a query with a vector of its own, of any length; 2: has seen everything.
    profiles[1]["vector"] = (3 * rng.standard_normal(width)).astype(np.float32).tolist()
    profiles[2]["vector"] = rng.standard_normal(width).astype(np.float32).tolist()
    profiles[2]["seen"] = list(range(num_items))
    profiles[3] |= {"seen": None, "vector": []}
    profiles[4]["seen"] = profiles[4]["history"] * 2
    return profiles


def dot(one: Sequence[float], other: Sequence[float]) -> float:
    """Return the exactly rounded product sum, so that equal vectors tie."""
    return math.fsum(float(a) * float(b) for a, b in zip(one, other, strict=True))


def reference(shop: Any, profile: dict[str, Any], config: Retrieve) -> dict[int, dict[str, float]]:
    """Say with loops what `RetrieveCandidates` promises: item -> who proposed it and how each source scores it."""
    history = profile["history"]
    weights = [w * 0.5 ** (place / config.position_half_life) for place, w in enumerate(profile["history_weights"])]
    vector = profile["vector"] or [dot(weights, shop.vectors_ID[history, d]) for d in range(shop.vectors_ID.shape[1])]
    length = math.sqrt(dot(vector, vector))
    seen = set(profile["seen"] or [])
    is_open = [shop.eligible[item] and item not in seen for item in range(shop.num_items)]

    scores: list[dict[str, float]] = []
    for item, own in enumerate(shop.vectors_ID):
        cosine = dot(own, vector) / length if length else 0.0
        parts = [
            max(dot(own, shop.vectors_ID[h]), 0.0) ** config.content.sharpness * w
            for h, w in zip(history, weights, strict=True)
        ]
        as_sum = config.content.mode == "sum" and history
        scores.append(
            {
                "cosine": cosine,
                "content": math.fsum(parts) if as_sum else max(cosine, 0.0) ** config.content.sharpness,
                "covisitation": math.fsum(
                    w * shop.pairs.get((h, item), 0.0) for h, w in zip(history, weights, strict=True)
                ),
                "popularity": shop.popularity[item],
            }
        )

    def top(by: str, number: int, above: float) -> list[int]:
        wanted = [item for item in range(shop.num_items) if is_open[item] and scores[item][by] > above]
        # Twelve digits: the order of equal sums must not hang on their last bit.
        return sorted(wanted, key=lambda item: (-round(scores[item][by], 12), item))[:number]

    proposals = (
        top("cosine", config.content.candidates, -math.inf) if length else [],
        top("covisitation", config.covisitation.candidates, 0.0),
        top("popularity", config.popularity.candidates, 0.0),
    )
    return {
        item: scores[item] | {"proposed": sum(1 << bit for bit, items in enumerate(proposals) if item in items)}
        for item in sorted(set().union(*proposals))
    }


@pytest.fixture(scope="module")
def shops(build: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[int, tuple[Any, str]]:
    """Three random catalogs and the folders of their indexes."""
    drawn = {seed: build.draw_shop(seed) for seed in (1, 2, 3)}
    return {
        seed: (shop, build.write_shop(tmp_path_factory.mktemp("index") / "i", shop)) for seed, shop in drawn.items()
    }


@pytest.fixture(scope="module")
def progress(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tmp_path_factory.mktemp("progress"))


def retrieve(
    build: Any, folder: str, profiles: list[dict[str, Any]], config: Retrieve, progress: str, cuts: Any = ()
) -> pa.Table:
    table = pa.Table.from_pylist(profiles, schema=PROFILES)
    return build.run_task(RetrieveCandidates(folder, config, "cpu", 0, progress), table, cuts)


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize(("mode", "sharpness"), [("sum", 2.0), ("sum", 1.0), ("mean", 2.0)])
def test_candidates_and_scores_are_those_of_the_loop(
    build: Any, shops: dict[int, tuple[Any, str]], progress: str, seed: int, mode: str, sharpness: float
) -> None:
    shop, folder = shops[seed]
    config = CONFIG.model_copy(update={"content": Content(candidates=6, sharpness=sharpness, mode=mode)})
    profiles = draw_profiles(seed, shop.num_items, shop.vectors_ID.shape[1])
    made = retrieve(build, folder, profiles, config, progress).to_pylist()
    assert [row["key"] for row in made] == [profile["key"] for profile in profiles]
    for row, profile in zip(made, profiles, strict=True):
        expected = reference(shop, profile, config)
        assert row["items"] == list(expected), row["key"]
        assert row["proposed"] == [scores["proposed"] for scores in expected.values()], row["key"]
        for source in ("content", "covisitation", "popularity"):
            assert_allclose(row[source], [scores[source] for scores in expected.values()], rtol=1e-5, atol=1e-6)


def test_special_profiles(build: Any, shops: dict[int, tuple[Any, str]], progress: str) -> None:
    shop, folder = shops[1]
    profiles = draw_profiles(1, shop.num_items, shop.vectors_ID.shape[1])
    cold, query, saw_all = retrieve(build, folder, profiles, CONFIG, progress).to_pylist()[:3]
    assert set(cold["proposed"]) == {4}  # nothing is known of it: popular items alone
    assert set(cold["content"]) == {0.0}
    assert set(query["proposed"]) <= {1, 4, 5}
    assert any(bits & 1 for bits in query["proposed"])
    assert saw_all["items"] == []


def test_nothing_seen_or_sold_out_is_proposed_and_nothing_twice(
    build: Any, shops: dict[int, tuple[Any, str]], progress: str
) -> None:
    shop, folder = shops[2]
    profiles = draw_profiles(5, shop.num_items, shop.vectors_ID.shape[1], number=40)
    for row, profile in zip(retrieve(build, folder, profiles, CONFIG, progress).to_pylist(), profiles, strict=True):
        assert not set(row["items"]) & set(profile["seen"] or [])
        assert all(shop.eligible[item] for item in row["items"])
        assert len(row["items"]) == len(set(row["items"]))
        assert all(row["proposed"])


def test_history_weights_come_out_halved_by_place(build: Any, shops: dict[int, tuple[Any, str]], progress: str) -> None:
    _, folder = shops[1]
    history = {"key": "k", "history": [3, 1, 2], "history_weights": [1.0, 1.0, 0.5], "history_codes": [5, 2, 3]}
    (row,) = retrieve(build, folder, [history | {"seen": [], "vector": None}], CONFIG, progress).to_pylist()
    assert_allclose(row["history_weights"], [1.0, 1 / math.sqrt(2), 0.5 / 2], rtol=1e-6)
    assert (row["history"], row["history_codes"]) == ([3, 1, 2], [5, 2, 3])


@settings(derandomize=True, max_examples=8, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([1, 2, 3]))
def test_which_stable_indices_the_items_have_changes_nothing(
    build: Any,
    shops: dict[int, tuple[Any, str]],
    progress: str,
    tmp_path_factory: pytest.TempPathFactory,
    draw: int,
    seed: int,
) -> None:
    shop, folder = shops[seed]
    profiles = draw_profiles(seed, shop.num_items, shop.vectors_ID.shape[1])
    rng = np.random.default_rng(draw)
    # Any order and holes; those of `gone` belong to items that are not in tonight's catalog.
    drawn = [int(i) for i in rng.permutation(5 * shop.num_items)[: shop.num_items + 3]]
    indices, gone = drawn[:-3], drawn[-3:]
    strays = {(gone[0], indices[1]): 1.0, (indices[2], gone[1]): 1.0, (gone[2], gone[2]): 1.0}
    other = build.write_shop(tmp_path_factory.mktemp("index") / "i", shop, indices=indices, strays=strays)
    renamed = [_renamed(profile, indices, gone, rng) for profile in profiles]
    made = retrieve(build, other, renamed, CONFIG, progress)
    assert made.equals(retrieve(build, folder, profiles, CONFIG, progress))


def _renamed(profile: dict[str, Any], indices: list[int], gone: list[int], rng: np.random.Generator) -> dict[str, Any]:
    """Return the profile with its items under their stable indices, items that are gone strewn in."""
    entries = list(zip(profile["history"], profile["history_weights"], profile["history_codes"], strict=True))
    entries = [(indices[item], weight, code) for item, weight, code in entries]
    for stranger in gone[: rng.integers(0, 4)]:
        entries.insert(int(rng.integers(0, len(entries) + 1)), (stranger, 9.0, 1))
    seen = profile["seen"]
    return profile | {
        "history": [item for item, _, _ in entries],
        "history_weights": [weight for _, weight, _ in entries],
        "history_codes": [code for _, _, code in entries],
        "seen": None if seen is None else [*(indices[item] for item in seen), gone[0]],
    }


@settings(derandomize=True, max_examples=10, deadline=None)
@given(st.lists(st.integers(0, 14), max_size=4), st.integers(1, 16), st.integers(1, 50))
def test_batch_ends_and_block_sizes_never_change_a_result(
    build: Any, shops: dict[int, tuple[Any, str]], progress: str, cuts: list[int], profile_block: int, item_block: int
) -> None:
    shop, folder = shops[3]
    profiles = draw_profiles(3, shop.num_items, shop.vectors_ID.shape[1])
    plain = retrieve(
        build, folder, profiles, CONFIG.model_copy(update={"profile_block": 99, "item_block": 99}), progress
    )
    blocks = CONFIG.model_copy(update={"profile_block": profile_block, "item_block": item_block})
    made = retrieve(build, folder, profiles, blocks, progress, cuts)
    assert made.drop_columns(list(FLOATS)).equals(plain.drop_columns(list(FLOATS)))
    for row, expected in zip(made.to_pylist(), plain.to_pylist(), strict=True):
        for column in FLOATS:
            assert_allclose(row[column] or [], expected[column] or [], rtol=1e-6, atol=1e-7)


def test_a_neighbor_of_no_strength_is_not_proposed(build: Any, tmp_path: Path, progress: str) -> None:
    shop = build.make_shop(np.eye(3), pairs={(0, 1): 0.5, (0, 2): 0.0})
    folder = build.write_shop(tmp_path / "index", shop)
    profile = {"key": "k", "history": [0], "history_weights": [1.0], "history_codes": [5], "seen": [0], "vector": None}
    (row,) = retrieve(build, folder, [profile], CONFIG, progress).to_pylist()
    assert [(item, bool(bits & 2)) for item, bits in zip(row["items"], row["proposed"], strict=True)] == [
        (1, True),
        (2, False),
    ]


def test_a_partition_without_rows_yields_nothing(build: Any, tmp_path: Path) -> None:
    # It does not even look for the index.
    assert retrieve(build, str(tmp_path / "nowhere"), [], CONFIG, str(tmp_path / "p"), cuts=[0]).num_rows == 0


def test_a_broken_device_ends_the_process(
    build: Any, shops: dict[int, tuple[Any, str]], progress: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> NoReturn:
        raise torch.AcceleratorError("CUDA error: an illegal memory access was encountered")

    def end(error: RuntimeError) -> NoReturn:
        ended.append(str(error))
        raise SystemExit

    ended: list[str] = []
    monkeypatch.setattr(retrieve_module, "exact_topk", fail)
    monkeypatch.setattr(encode, "_end_process", end)
    shop, folder = shops[1]
    with pytest.raises(SystemExit):
        retrieve(build, folder, draw_profiles(1, shop.num_items, shop.vectors_ID.shape[1]), CONFIG, progress)
    assert ended == ["CUDA error: an illegal memory access was encountered"]
