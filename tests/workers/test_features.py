"""Features and proposals of the ranker's sources against loops over the same few acts."""

import math
from collections import defaultdict
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from recsys_batch.contracts.columns import CANDIDATE_SOURCES
from recsys_batch.contracts.config.night import Content, Covisitation, Popularity, Rerank, Retrieve
from recsys_batch.contracts.errors import ConfigError
from recsys_batch.contracts.evidence import ITEM_MODELS
from recsys_batch.contracts.schemas import PROFILES, SCORED
from recsys_batch.rules.sparse_rows import strongest
from recsys_batch.workers.features import FEATURES, Scores
from recsys_batch.workers.profiles import Candidates
from recsys_batch.workers.ragged import Ragged
from recsys_batch.workers.rank_learned import MakeExamples, feature_names, features_of
from recsys_batch.workers.rerank import RerankCandidates
from recsys_batch.workers.retrieve import RetrieveCandidates

NUM_ITEMS, NUM_PROFILES, REACH = 30, 9, 6
CONFIG = Retrieve(
    content=Content(candidates=4),
    covisitation=Covisitation(candidates=4),
    popularity=Popularity(candidates=4),
    profile_block=4,
)
Models = dict[str, dict[tuple[int, int], float]]


def draw_world(build: Any, folder: Path) -> tuple[Any, Models, dict[str, list[dict[str, Any]]], dict[str, Any]]:
    """Write an index with evidence; return shop, models, reference users' weights and facts."""
    rng = np.random.default_rng(5)
    shop = build.draw_shop(11, num_items=NUM_ITEMS)
    build.write_shop(folder, shop)
    models: Models = {}
    for name in ITEM_MODELS:
        cells = rng.integers(0, NUM_ITEMS, (90, 2))
        models[name] = {(int(a), int(b)): float(rng.integers(1, 9)) / 8 for a, b in cells if a != b}
        table = {
            "item": pa.array([a for a, _ in models[name]], pa.int32()),
            "neighbor": pa.array([b for _, b in models[name]], pa.int32()),
            "weight": pa.array(list(models[name].values())),
        }
        write(folder / "evidence" / name, table)
    users = {
        f"u{number}": {int(i): float(rng.integers(1, 9)) / 8 for i in rng.permutation(NUM_ITEMS)[: rng.integers(1, 8)]}
        for number in range(12)
    }
    rows = [(user, item, weight) for user, items in users.items() for item, weight in items.items()]
    keys = ("user_id", "item_index", "weight")
    write(folder / "evidence" / "users", dict(zip(keys, map(list, zip(*rows, strict=True)), strict=True)))
    counts = {f"users_{w}": rng.integers(0, 9, NUM_ITEMS).astype(float) for w in ("3", "7", "14", "30", "90", "all")}
    facts: dict[str, Any] = counts | {
        "buyers": rng.integers(0, 3, NUM_ITEMS).astype(float),
        "first_act": rng.random(NUM_ITEMS) * 100,
        "last_act": rng.random(NUM_ITEMS) * 10,
        "repeaters": rng.integers(0, 3, NUM_ITEMS).astype(float),
        "interval_days": rng.integers(0, 60, NUM_ITEMS).astype(float),
        "price": np.where(rng.random(NUM_ITEMS) < 0.2, np.nan, rng.integers(1, 50, NUM_ITEMS)),
        "category": [None if rng.random() < 0.2 else "ABC"[rng.integers(3)] for _ in range(NUM_ITEMS)],
        "category_top": [None] * NUM_ITEMS,
        "brand": ["xy"[rng.integers(2)] for _ in range(NUM_ITEMS)],
    }
    texts = {name: pa.array(facts[name], pa.string()) for name in ("category", "category_top", "brand")}
    write(folder / "evidence" / "facts", facts | texts | {"item_index": pa.array(range(NUM_ITEMS), pa.int32())})
    return shop, models, users, facts


def write(folder: Path, columns: dict[str, Any]) -> None:
    folder.mkdir(parents=True)
    pq.write_table(pa.table(columns), folder / "part-0.parquet")


def draw_profiles() -> list[dict[str, Any]]:
    rng = np.random.default_rng(6)
    profiles = []
    for number in range(NUM_PROFILES):
        length = 0 if number == 0 else int(rng.integers(1, 9))
        ages = np.sort(rng.random(length) * 40).astype(np.float32)
        acts = rng.integers(0, 10, length).tolist()  # few items, so that some are acted on again
        history = list(dict.fromkeys(acts))
        profiles.append(
            {
                "key": f"u{number}",
                "history": history,
                "history_weights": [1.0] * len(history),
                "history_codes": [5] * len(history),
                "acts": acts,
                "act_ages": ages.tolist(),
                "act_weights": (rng.integers(1, 5, length) / 4).tolist(),
                "act_bought": (rng.random(length) < 0.5).tolist(),
                "seen": rng.permutation(NUM_ITEMS)[: rng.integers(0, 6)].tolist(),
                "vector": None,
            }
        )
    return profiles


@pytest.fixture(scope="module")
def world(build: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, ...]:
    folder = tmp_path_factory.mktemp("ranked") / "index"
    drawn = draw_world(build, folder)
    profiles = draw_profiles()
    task = RetrieveCandidates(str(folder), CONFIG, "cpu", 0, str(folder.parent / "progress"), ranked_candidates=REACH)
    made = build.run_task(task, pa.Table.from_pylist(profiles, schema=PROFILES))
    return str(folder), drawn, profiles, made


def history_weights(profile: dict[str, Any], kind: str) -> dict[int, float]:
    """The weight of each item of the history, as the features count it."""
    made: dict[int, float] = defaultdict(float)
    for item, age, weight in zip(profile["acts"], profile["act_ages"], profile["act_weights"], strict=True):
        match kind:
            case "recent":
                made[item] = min(made[item] + weight * math.exp(-age / 60), 3.0)
            case "all":
                made[item] = 1.0
            case "last" if age - profile["act_ages"][0] < 1:
                made[item] = 1.0
    return made


def model_score(world: tuple[Any, ...], profile: dict[str, Any], name: str, kind: str, item: int) -> float:
    _, (shop, models, _, _), _, _ = world
    pairs = shop.pairs if name == "covisitation" else models[name]
    return math.fsum(w * pairs.get((h, item), 0.0) for h, w in history_weights(profile, kind).items())


def user_knn(world: tuple[Any, ...], profile: dict[str, Any]) -> dict[int, float]:
    _, (_, _, users, _), _, _ = world
    idf = {i: math.log1p(len(users) / (sum(i in u for u in users.values()) + 1)) for i in range(NUM_ITEMS)}
    mine: dict[int, float] = defaultdict(float)
    for item, age, weight in zip(profile["acts"], profile["act_ages"], profile["act_weights"], strict=True):
        mine[item] = min(mine[item] + weight * math.exp(-age / 60), 1.0)

    def unit(items: dict[int, float]) -> dict[int, float]:
        scaled = {i: w * idf[i] for i, w in items.items()}
        length = math.sqrt(math.fsum(v * v for v in scaled.values())) or 1.0
        return {i: v / length for i, v in scaled.items()}

    own, made = unit(mine), defaultdict(float)
    for user, items in users.items():
        if user != profile["key"]:
            alike = math.fsum(own.get(i, 0.0) * v for i, v in unit(items).items())
            for item, weight in items.items():
                made[item] += alike * weight
    return made


def test_evidence_is_that_of_loops(world: tuple[Any, ...]) -> None:
    folder, _, profiles, made = world
    candidates = Candidates.of(Ragged.from_arrow(made["items"].combine_chunks(), np.int64))
    features = features_of(folder, made.combine_chunks().to_batches()[0], candidates)
    assert tuple(features) == FEATURES
    for n, (p, item) in enumerate(zip(candidates.owners.tolist(), candidates.items_N.tolist(), strict=True)):
        profile = profiles[p]
        for name in (*ITEM_MODELS, "covisitation"):
            for kind in ("recent", "all", "last"):
                expected = model_score(world, profile, name, kind, item)
                assert features[f"{name}_{kind}"][n] == pytest.approx(expected, abs=1e-5), (name, kind)
        assert features["user_knn"][n] == pytest.approx(user_knn(world, profile)[item], abs=1e-5)


def test_what_a_profile_did_with_a_candidate_and_whether_it_is_due(world: tuple[Any, ...]) -> None:
    folder, (_, _, _, facts), profiles, made = world
    candidates = Candidates.of(Ragged.from_arrow(made["items"].combine_chunks(), np.int64))
    features = features_of(folder, made.combine_chunks().to_batches()[0], candidates)
    usual = facts["interval_days"].sum() / facts["repeaters"].sum()
    own_seen = 0
    for n, (p, item) in enumerate(zip(candidates.owners.tolist(), candidates.items_N.tolist(), strict=True)):
        profile = profiles[p]
        ages = [age for act, age in zip(profile["acts"], profile["act_ages"], strict=True) if act == item]
        bought = [b for act, b in zip(profile["acts"], profile["act_bought"], strict=True) if act == item]
        assert features["own_times"][n] == len(ages)
        assert features["own_bought"][n] == sum(bought)
        interval = (facts["interval_days"][item] + 5 * usual) / (facts["repeaters"][item] + 5)
        assert features["slowness"][n] == pytest.approx(interval / usual, rel=1e-5)
        if not ages:
            assert math.isnan(features["own_last"][n])
            assert math.isnan(features["own_due"][n])
            continue
        own_seen += 1
        assert features["own_last"][n] == pytest.approx(min(ages), abs=1e-4)
        own = (max(ages) - min(ages)) / (len(ages) - 1) if len(ages) > 1 else math.nan
        assert_allclose(features["own_interval"][n], own, atol=1e-4)
        due = min(ages) / max(own if len(ages) > 1 else interval, 1.0)
        assert features["own_due"][n] == pytest.approx(due, abs=1e-4)
        assert features["own_place"][n] == profile["acts"].index(item)
        assert features["own_since_last_day"][n] == pytest.approx(min(ages) - profile["act_ages"][0], abs=1e-4)
    assert own_seen > 10


def test_what_counts_the_log_is_a_part_of_it(world: tuple[Any, ...]) -> None:
    folder, (_, _, _, facts), _, made = world
    candidates = Candidates.of(Ragged.from_arrow(made["items"].combine_chunks(), np.int64))
    features = features_of(folder, made.combine_chunks().to_batches()[0], candidates)
    for n, item in enumerate(candidates.items_N.tolist()):
        for window in ("3", "7", "14", "30", "90", "all"):
            whole = math.fsum(facts[f"users_{window}"])
            assert features[f"share_{window}"][n] == pytest.approx(facts[f"users_{window}"][item] / whole, rel=1e-5)
        newness = 1 - facts["first_act"][item] / max(facts["first_act"])
        assert features["newness"][n] == pytest.approx(newness, abs=1e-5)


def test_facts_of_users_and_how_candidates_fit(world: tuple[Any, ...]) -> None:
    folder, (_, _, _, facts), profiles, made = world
    candidates = Candidates.of(Ragged.from_arrow(made["items"].combine_chunks(), np.int64))
    features = features_of(folder, made.combine_chunks().to_batches()[0], candidates)
    for n, (p, item) in enumerate(zip(candidates.owners.tolist(), candidates.items_N.tolist(), strict=True)):
        acts, ages = profiles[p]["acts"], profiles[p]["act_ages"]
        assert features["user_acts"][n] == len(acts)
        assert features["user_items"][n] == len(set(acts))
        assert features["user_days"][n] == len({math.floor(age) for age in ages})
        assert_allclose(features["user_last"][n], ages[0] if ages else math.nan, rtol=1e-5)
        prices = [math.log1p(facts["price"][act]) for act in acts if not math.isnan(facts["price"][act])]
        mean = sum(prices) / len(prices) if prices else math.nan
        assert_allclose(features["price_fit"][n], math.log1p(facts["price"][item]) - mean, atol=1e-5)
        for name in ("category", "brand"):
            code = facts[name][item]
            weights = [(math.exp(-age / 60), facts[name][act]) for act, age in zip(acts, ages, strict=True)]
            total = sum(w for w, c in weights if c is not None)
            share = sum(w for w, c in weights if c == code) / total if total else 0.0
            assert_allclose(features[f"{name}_share"][n], share if code is not None else math.nan, atol=1e-5)
        assert math.isnan(features["category_top_share"][n])


def test_likeness_by_text_and_how_many_sources_agree(world: tuple[Any, ...]) -> None:
    folder, (shop, _, _, _), profiles, made = world
    candidates = Candidates.of(Ragged.from_arrow(made["items"].combine_chunks(), np.int64))
    features = features_of(folder, made.combine_chunks().to_batches()[0], candidates)
    bits = [bits for row in made["proposed"].to_pylist() for bits in row]
    for n, (p, item) in enumerate(zip(candidates.owners.tolist(), candidates.items_N.tolist(), strict=True)):
        acts = profiles[p]["acts"]
        cosines = [float(shop.vectors_ID[item] @ shop.vectors_ID[act]) for act in acts]
        assert_allclose(features["cosine_max"][n], max(cosines) if acts else math.nan, atol=1e-5)
        assert features["num_sources"][n] == bin(bits[n]).count("1")


@settings(derandomize=True, max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 6), st.booleans())
def test_the_strongest_of_each_row_are_those_of_a_sort(seed: int, number: int, leave_out: bool) -> None:
    rng = np.random.default_rng(seed)
    # Few distinct values, so that many tie; some are not positive.
    dense = rng.integers(-2, 4, (5, 12)).astype(np.float32) * (rng.random((5, 12)) < 0.7)
    without = rng.integers(-1, 12, 5) if leave_out else None
    made = strongest(sp.csr_array(dense), number, without)
    for row in range(5):
        left_out = -1 if without is None else without[row]
        wanted = [i for i in range(12) if dense[row, i] > 0 and i != left_out]
        best = sorted(sorted(wanted, key=lambda i: (-dense[row, i], i))[:number])
        assert made.indices[made.indptr[row] : made.indptr[row + 1]].tolist() == best


@settings(derandomize=True, max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 6), min_size=1, max_size=5), st.integers(0, 2**32 - 1))
def test_ranks_are_the_places_of_a_sort_by_score_and_then_row(sizes: list[int], seed: int) -> None:
    scores_N = np.random.default_rng(seed).integers(0, 3, sum(sizes)).astype(np.float32)
    starts_P = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    items_N = np.concatenate([np.arange(size) for size in sizes]).astype(np.int64)
    ranks_N = Candidates(starts_P, items_N).ranks(scores_N)
    for start, stop in pairwise(starts_P.tolist()):
        order = sorted(range(start, stop), key=lambda n: (-scores_N[n], n))
        assert [order.index(n) for n in range(start, stop)] == ranks_N[start:stop].tolist()


def test_every_source_proposes_its_best_open_items(world: tuple[Any, ...]) -> None:
    _, (shop, _, _, facts), profiles, made = world
    for row, profile in zip(made.to_pylist(), profiles, strict=True):
        is_open = [shop.eligible[i] and i not in profile["seen"] for i in range(NUM_ITEMS)]
        decayed: dict[int, float] = defaultdict(float)
        for item, age in zip(profile["acts"], profile["act_ages"], strict=True):
            decayed[item] += math.exp(-age / 180)
        knn = user_knn(world, profile)
        scores = {
            "repurchase": decayed,
            "user_knn": knn,
            **{
                name: {i: model_score(world, profile, name, kind, i) for i in range(NUM_ITEMS)}
                for name, kind in (
                    ("item_knn", "recent"),
                    ("basket", "recent"),
                    ("next_basket", "last"),
                    ("ease", "all"),
                )
            },
        }
        for source, values in scores.items():
            wanted = [i for i in range(NUM_ITEMS) if is_open[i] and values.get(i, 0.0) > 0]
            best = sorted(wanted, key=lambda i: (-round(values[i], 5), i))[:REACH]
            bit = 1 << CANDIDATE_SOURCES.index(source)
            proposed = [i for i, bits in zip(row["items"], row["proposed"], strict=True) if bits & bit]
            assert sorted(best) == proposed, (source, profile["key"])
        week = sorted((i for i in range(NUM_ITEMS) if is_open[i]), key=lambda i: (-facts["users_7"][i], i))[:REACH]
        bit = 1 << CANDIDATE_SOURCES.index("trending")
        assert sorted(week) == [i for i, bits in zip(row["items"], row["proposed"], strict=True) if bits & bit]


def test_examples_hold_the_features_of_the_night(world: tuple[Any, ...], build: Any) -> None:
    folder, _, _, made = world
    items = made["items"].to_pylist()
    # One wanted item that is proposed and one that is not; the last profile wants nothing that anyone proposed.
    outside = [[i for i in range(NUM_ITEMS) if i not in row][:1] for row in items]
    targets = [[row[0], *other] for row, other in zip(items, outside, strict=True)]
    targets[-1] = outside[-1]
    table = made.append_column("targets", pa.array(targets, pa.list_(pa.int32())))
    whole = build.run_task(MakeExamples(folder, 3, whole=True), table).to_pylist()
    learned = build.run_task(MakeExamples(folder, 5), table, cuts=[2, 6]).to_pylist()
    candidates = Candidates.of(Ragged.from_arrow(made["items"].combine_chunks(), np.int64))
    features = features_of(folder, made.combine_chunks().to_batches()[0], candidates)
    rows_NF = np.column_stack([features[name] for name in FEATURES])
    for p, row in enumerate(whole):
        start, stop = candidates.starts_P[p], candidates.starts_P[p + 1]
        assert_allclose(np.reshape(row["features"], (-1, len(FEATURES))), rows_NF[start:stop], rtol=1e-5, atol=1e-6)
        assert row["labels"] == [float(item in targets[p]) for item in items[p]]
        assert row["num_targets"] == len(targets[p])
    assert learned[-1]["labels"] == []
    for one, other in zip(whole[:-1], learned[:-1], strict=True):
        assert one["labels"] == other["labels"]
        assert_allclose(one["features"], other["features"], rtol=1e-5, atol=1e-6)


def test_fewer_negatives_are_the_same_on_any_partition_and_lose_nothing_wanted(
    world: tuple[Any, ...], build: Any
) -> None:
    folder, _, _, made = world
    targets = [row[:2] for row in made["items"].to_pylist()]
    table = made.append_column("targets", pa.array(targets, pa.list_(pa.int32())))
    everything = build.run_task(MakeExamples(folder, 4), table).to_pylist()
    few = build.run_task(MakeExamples(folder, 4, negatives=6), table).to_pylist()
    again = build.run_task(MakeExamples(folder, 2, negatives=6), table, cuts=[1, 5]).to_pylist()
    assert [row["labels"] for row in few] == [row["labels"] for row in again]
    for one, other in zip(few, again, strict=True):
        assert_allclose(one["features"], other["features"], rtol=1e-5, atol=1e-6)
    assert [sum(row["labels"]) for row in few] == [2.0] * NUM_PROFILES
    left = np.array([row["labels"].count(0.0) for row in few])
    assert (left < [row["labels"].count(0.0) for row in everything]).all()
    # About six a profile: the sum of NUM_PROFILES draws stays within four standard deviations.
    assert abs(left.sum() - 6 * NUM_PROFILES) < 4 * math.sqrt(6 * NUM_PROFILES)
    for one, other in zip(few, everything, strict=True):
        kept, whole = (np.reshape(row["features"], (-1, len(FEATURES))) for row in (one, other))
        assert all(np.isclose(whole, row, rtol=1e-5, atol=1e-6, equal_nan=True).all(axis=1).any() for row in kept)


def cheaper(scores: Scores) -> sp.csr_array:
    """A shop's own source: items that cost less than what was last acted on, the cheapest first."""
    price_I = np.nan_to_num(scores.evidence.facts["price"], nan=1e6)
    rows = [
        np.where(price_I < price_I[acts[0]], 1 / (1 + price_I), 0) if acts.size else np.zeros(price_I.size)
        for acts in (scores.acts.items[p] for p in range(len(scores.acts)))
    ]
    return sp.csr_array(np.array(rows))


cheaper.reason = "costs less"  # type: ignore[attr-defined]


def too_few(scores: Scores) -> sp.csr_array:
    return sp.csr_array((len(scores.acts), 3))


def boundless(scores: Scores) -> sp.csr_array:
    return sp.csr_array(np.full((len(scores.acts), scores.index.num_items), np.inf))


def test_a_shops_own_source_proposes_is_a_feature_and_explains_itself(world: tuple[Any, ...], build: Any) -> None:
    folder, (shop, _, _, facts), profiles, _ = world
    own = ("tests.workers.test_features:cheaper",)
    task = RetrieveCandidates(folder, CONFIG, "cpu", 0, f"{folder}-progress", REACH, own)
    made = build.run_task(task, pa.Table.from_pylist(profiles, schema=PROFILES))
    bit = 1 << len(CANDIDATE_SOURCES)
    proposed_by_own = 0
    for row, profile in zip(made.to_pylist(), profiles, strict=True):
        limit = facts["price"][profile["acts"][0]] if profile["acts"] else 0.0
        limit = 1e6 if math.isnan(limit) else limit
        is_open = [shop.eligible[i] and i not in profile["seen"] for i in range(NUM_ITEMS)]
        wanted = sorted((facts["price"][i], i) for i in range(NUM_ITEMS) if is_open[i] and facts["price"][i] < limit)
        best = sorted(item for _, item in wanted[:REACH])
        assert [i for i, bits in zip(row["items"], row["proposed"], strict=True) if bits & bit] == best
        proposed_by_own += len(best)
    assert proposed_by_own > 10
    candidates = Candidates.of(Ragged.from_arrow(made["items"].combine_chunks(), np.int64))
    features = features_of(folder, made.combine_chunks().to_batches()[0], candidates, own)
    assert tuple(features) == feature_names(own)
    assert (features["cheaper"] > 0).sum() >= proposed_by_own
    # A list in which it speaks most for an item says so, under its name.
    row = {"key": "u", "history": [1], "history_weights": [1.0], "history_codes": [2], "items": [0], "scores": [1.0]}
    row |= {"proposed": [bit | 1], "main_source": [len(CANDIDATE_SOURCES)]}
    rerank = RerankCandidates(folder, "user", Rerank(), 1.0, f"{folder}-progress", own)
    (shown,) = build.run_task(rerank, pa.Table.from_pylist([row], schema=SCORED)).to_pylist()
    assert shown["sources"] == ["content", "cheaper"]
    assert shown["reason"] == {"kind": "own", "anchor": None, "text": "costs less"}


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("tests.workers.test_features:too_few", r"too_few returned the shape \(4, 3\), not \(4, 30\)"),
        ("tests.workers.test_features:boundless", "not finite"),
        ("tests.workers.test_features:nothing", "nothing"),
        ("no_such_shop.sources:near", "no_such_shop"),
        ("tests.workers.test_features:NUM_ITEMS", "is no function"),
    ],
)
def test_an_own_source_that_cannot_be_used_is_named(
    world: tuple[Any, ...], build: Any, source: str, message: str
) -> None:
    folder, _, profiles, _ = world
    task = RetrieveCandidates(folder, CONFIG, "cpu", 0, f"{folder}-progress", REACH, (source,))
    with pytest.raises(ConfigError, match=message):
        build.run_task(task, pa.Table.from_pylist(profiles, schema=PROFILES))


def test_a_profile_without_times_has_places_instead(world: tuple[Any, ...], build: Any) -> None:
    folder, _, _, _ = world
    request = {"key": "r", "history": [3, 4, 3], "history_weights": [1.0] * 3, "history_codes": [2] * 3, "seen": []}
    task = RetrieveCandidates(folder, CONFIG, "cpu", 0, f"{folder}-progress", ranked_candidates=REACH)
    made = build.run_task(task, pa.Table.from_pylist([request], schema=PROFILES))
    candidates = Candidates.of(Ragged.from_arrow(made["items"].combine_chunks(), np.int64))
    features = features_of(folder, made.combine_chunks().to_batches()[0], candidates)
    place = candidates.items_N.tolist().index(3)
    assert features["own_times"][place] == 2
    assert features["own_place"][place] == 0
    assert math.isnan(features["own_last"][place])
    assert features["user_acts"][place] == 3
    assert features["own_decayed_60"][place] == pytest.approx(1 + math.exp(-2 / 10))
