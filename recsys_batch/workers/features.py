"""What a ranker sees of a candidate: evidence of every source, the item's and the user's facts, and both together.

The same lines make the features of the night and those that a ranker learns from. NaN stands for what is not known.
Sources of the features: the winners' write-ups of the H&M and OTTO competitions (item-item scores summed over the
history under several weights), TIFU-KNN (Hu et al., 2020: decayed baskets of similar users), EASE (Steck, 2019).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import scipy.sparse as sp

from recsys_batch.contracts.columns import BLENDED_SOURCES, COVISITATION, EASE, ITEM_KNN, NEXT_BASKET, USER_KNN
from recsys_batch.contracts.evidence import ITEM_MODELS, RECENT_DAYS, WINDOWS
from recsys_batch.rules.sparse_rows import strongest
from recsys_batch.workers.evidence import Evidence, read_evidence, unit_rows
from recsys_batch.workers.item_index import ItemIndex, read_item_index
from recsys_batch.workers.profiles import Acts, Candidates

FloatArray = npt.NDArray[np.float32]
# Users like the profile that it is compared with.
_NEAR_USERS = 100
# Half-lives do not fit every shop, so there are several; days.
_DECAYS = (15.0, 60.0, 180.0)
# Newest acts that a candidate is compared with one by one.
_NEAREST_OF = 20
_HISTORIES = ("recent", "all", "last")
_RANKED = (f"{EASE}_all", f"{EASE}_recent", USER_KNN, f"{ITEM_KNN}_recent", f"{NEXT_BASKET}_last", "content")
FEATURES: tuple[str, ...] = (
    *(f"{name}_{history}" for name in (*ITEM_MODELS, COVISITATION) for history in _HISTORIES),
    USER_KNN,
    *BLENDED_SOURCES,
    *("cosine", "cosine_last", "cosine_max", "num_sources"),
    *(f"share_{window}" for window in WINDOWS),
    *("trend_week", "trend_month", "bought_share", "newness", "last_act", "price", "repeat_share", "slowness"),
    *("own_times", "own_bought", "own_last", "own_interval", "own_due", "own_since_last_day", "own_place", "own_share"),
    *(f"own_decayed_{days:g}" for days in _DECAYS),
    *("user_acts", "user_items", "user_days", "user_last", "user_interval", "user_due", "user_repeats"),
    *("user_popularity", "popularity_fit", "price_fit", "category_share", "category_top_share", "brand_share"),
    *(f"{name}_rank" for name in _RANKED),
)
"""The names of the features, in the order of the columns that a model learns from."""


@dataclass(frozen=True, eq=False)
class Scores:
    """The scores of all items for each of P profiles by the ranker's own sources; made once, used to propose too."""

    index: ItemIndex
    evidence: Evidence
    acts: Acts
    keys: npt.NDArray[np.object_]

    @cached_property
    def histories(self) -> dict[str, sp.csr_array]:
        """What counts of the acts: `recent` (decayed weights), `all` (every item 1), `last` (the last day's)."""
        acts = self.acts
        return {
            "recent": acts.matrix(acts.weights_L * acts.decay(RECENT_DAYS), largest=3.0),
            "all": acts.matrix(np.ones(acts.items.values.size), largest=1.0),
            "last": _without_zeros(acts.matrix(acts.on_last_day.astype(np.float32), largest=1.0)),
        }

    def of_model(self, name: str, history: str) -> sp.csr_array:
        """Return the scores of an item-item model for a history of `histories`, shape (P, I)."""
        made = sp.csr_array(self.histories[history] @ self.evidence.models[name])
        made.sort_indices()
        return made

    @cached_property
    def user_knn(self) -> sp.csr_array:
        """Items of the users most like each profile by cosine of decayed, idf-weighted acts, shape (P, I)."""
        users = self.evidence.users
        acts = self.acts
        decayed = acts.matrix(acts.weights_L * acts.decay(RECENT_DAYS), largest=1.0)
        alike = sp.csr_array(unit_rows(decayed, users.idf_I) @ users.units_IR)
        alike.sort_indices()
        own_P = users.rows_of(self.keys)
        kept = sp.csr_array(strongest(alike, _NEAR_USERS, without=own_P) @ users.weights_RI)
        kept.sort_indices()
        return kept


def scores_of(index_folder: str, batch: pa.RecordBatch) -> Scores:
    """Return the scores of the profiles in a batch with the columns key, history and acts, items by row."""
    index = read_item_index(index_folder)
    keys = np.asarray(batch.column("key").to_pylist(), dtype=object)
    return Scores(index, read_evidence(index_folder), Acts.from_batch(batch, index.num_items), keys)


def make_features(
    scores: Scores,
    candidates: Candidates,
    proposed_N: npt.NDArray[np.int64],
    base: dict[str, FloatArray],
    vectors_PD: FloatArray,
) -> dict[str, FloatArray]:
    """Return the features by name, (N,) each.

    `proposed_N`: bits of the sources that proposed a candidate; `base`: scores of the blend's sources; `vectors_PD`:
    unit vectors of the profiles, 0 for one without.
    """
    made: dict[str, FloatArray] = {"num_sources": np.bitwise_count(proposed_N).astype(np.float32)}
    for part in (
        _evidence(scores, candidates),
        base.items(),
        _texts(scores, candidates, vectors_PD),
        _items(scores, candidates),
        _own(scores, candidates),
        _users(scores, candidates),
    ):
        made.update(part)
    for name in _RANKED:
        made[f"{name}_rank"] = candidates.ranks(made[name])
    return {name: np.asarray(made[name], dtype=np.float32) for name in FEATURES}


def _evidence(scores: Scores, candidates: Candidates) -> Iterator[tuple[str, FloatArray]]:
    for name in (*ITEM_MODELS, COVISITATION):
        for history in _HISTORIES:
            yield f"{name}_{history}", candidates.pick(scores.of_model(name, history))
    yield USER_KNN, candidates.pick(scores.user_knn)


def _texts(
    scores: Scores, candidates: Candidates, vectors_PD: FloatArray
) -> Iterator[tuple[str, npt.NDArray[np.floating]]]:
    """Cosines of the candidate with the profile, with its last day, and with whatever of its newest acts is nearest."""
    vectors_ID, acts = scores.index.vectors_ID, scores.acts.items
    last_PD = _units(scores.histories["last"] @ vectors_ID)
    parts: dict[str, list[npt.NDArray[np.floating]]] = {"cosine": [], "cosine_last": [], "cosine_max": []}
    for p in range(len(candidates)):
        vectors_CD = vectors_ID[candidates.items_N[candidates.starts_P[p] : candidates.starts_P[p + 1]]]
        newest = np.unique(acts[p][:_NEAREST_OF])
        parts["cosine"].append(vectors_CD @ vectors_PD[p])
        parts["cosine_last"].append(vectors_CD @ last_PD[p])
        nearest_C = (vectors_CD @ vectors_ID[newest].T).max(axis=1, initial=-1.0)
        parts["cosine_max"].append(nearest_C if newest.size else np.full(len(vectors_CD), np.nan))
    for name, values in parts.items():
        yield name, np.concatenate(values) if values else np.zeros(0, dtype=np.float32)


def _items(scores: Scores, candidates: Candidates) -> Iterator[tuple[str, npt.NDArray[np.floating]]]:
    facts, items_N = scores.evidence.facts, candidates.items_N
    # A log grows from cut to cut, and so does whatever counts it. Parts of the whole mean the same at each.
    for window in WINDOWS:
        users_I = np.nan_to_num(facts[f"users_{window}"])
        yield f"share_{window}", users_I[items_N] / max(float(users_I.sum()), 1.0)
    yield "trend_week", ((4 * facts["users_7"] + 2) / (facts["users_30"] + 2))[items_N]
    yield "trend_month", ((3 * facts["users_30"] + 2) / (facts["users_90"] + 2))[items_N]
    yield "bought_share", ((facts["buyers"] + 1) / (facts["users_all"] + 2))[items_N]
    oldest = float(np.nan_to_num(facts["first_act"]).max(initial=0.0))
    yield "newness", 1 - facts["first_act"][items_N] / max(oldest, 1e-6)
    yield "last_act", facts["last_act"][items_N]
    yield "price", facts["price"][items_N]
    yield "repeat_share", (facts["repeaters"] / (facts["users_all"] + 5))[items_N]
    yield "slowness", _intervals(facts)[items_N] / max(_usual_interval(facts), 1e-6)


def _own(scores: Scores, candidates: Candidates) -> Iterator[tuple[str, npt.NDArray[np.floating]]]:
    """What the profile did with the candidate itself, and whether it is due again."""
    acts, pick = scores.acts, candidates.pick
    times_N = pick(acts.matrix(np.ones(acts.items.values.size)))
    has_N = times_N > 0
    newest = acts.matrix(np.where(acts.is_newest_of_item, acts.ages_L + 1, 0))
    oldest = acts.matrix(np.where(acts.is_oldest_of_item, acts.ages_L + 1, 0))
    last_N = np.where(has_N, pick(newest) - 1, np.nan)
    several_N = times_N > 1
    interval_N = np.where(several_N, (pick(oldest) - 1 - last_N) / np.maximum(times_N - 1, 1), np.nan)
    usual_N = np.where(several_N, interval_N, _intervals(scores.evidence.facts)[candidates.items_N])
    yield "own_times", times_N
    yield "own_bought", pick(acts.matrix(acts.bought_L.astype(np.float32)))
    yield "own_last", last_N
    yield "own_interval", interval_N
    yield "own_due", last_N / np.maximum(usual_N, 1.0)
    yield "own_since_last_day", last_N - acts.newest[candidates.owners]
    newest_place = acts.matrix(np.where(acts.is_newest_of_item, acts.places + 1.0, 0))
    yield "own_place", np.where(has_N, pick(newest_place) - 1, np.nan)
    yield "own_share", times_N / np.maximum(_num_days(acts), 1)[candidates.owners]
    for days in _DECAYS:
        yield f"own_decayed_{days:g}", pick(acts.matrix(acts.weights_L * acts.decay(days)))


def _users(scores: Scores, candidates: Candidates) -> Iterator[tuple[str, npt.NDArray[np.floating]]]:
    """What the profile is like, and how the candidate fits."""
    acts, facts, profiles_N, items_N = scores.acts, scores.evidence.facts, candidates.owners, candidates.items_N
    num_P = np.diff(acts.items.starts).astype(np.float32)
    distinct_P = np.diff(scores.histories["all"].indptr).astype(np.float32)
    days_P = _num_days(acts)
    oldest_P = np.full(len(acts), np.nan, dtype=np.float32)
    has_P = num_P > 0
    oldest_P[has_P] = acts.ages_L[acts.items.starts[1:][has_P] - 1]
    interval_P = np.where(days_P > 1, (oldest_P - acts.newest) / np.maximum(days_P - 1, 1), np.nan)
    popularity_I = np.log1p(np.nan_to_num(facts["users_all"]))
    usual_popularity_P = acts.mean(popularity_I[acts.items.values])
    price_I = np.log1p(np.maximum(facts["price"], 0))
    usual_price_P = acts.mean(price_I[acts.items.values])
    yield "user_acts", num_P[profiles_N]
    yield "user_items", distinct_P[profiles_N]
    yield "user_days", days_P[profiles_N]
    yield "user_last", acts.newest[profiles_N]
    yield "user_interval", interval_P[profiles_N]
    yield "user_due", (acts.newest / np.maximum(interval_P, 1))[profiles_N]
    yield "user_repeats", (1 - distinct_P / np.maximum(num_P, 1))[profiles_N]
    yield "user_popularity", usual_popularity_P[profiles_N]
    yield "popularity_fit", popularity_I[items_N] - usual_popularity_P[profiles_N]
    yield "price_fit", price_I[items_N] - usual_price_P[profiles_N]
    for name in ("category", "category_top", "brand"):
        yield f"{name}_share", _share_of_code(acts, candidates, facts[name])


def _share_of_code(acts: Acts, candidates: Candidates, codes_I: FloatArray) -> FloatArray:
    """Return the share of the profile's acts, decayed, on items with the candidate's code; NaN where it has none."""
    codes_N = codes_I[candidates.items_N]
    if (codes_I < 0).all():
        return np.full(candidates.items_N.size, np.nan, dtype=np.float32)
    codes_L, weights_L = codes_I[acts.items.values].astype(np.int64), acts.decay(RECENT_DAYS)
    known = codes_L >= 0
    width = int(codes_I.max()) + 1
    sums = sp.csr_array((weights_L[known], (acts.owners[known], codes_L[known])), shape=(len(acts), width))
    totals_P = np.maximum(np.asarray(sums.sum(axis=1)).ravel(), 1e-12)
    cells = Candidates(candidates.starts_P, np.maximum(codes_N, 0).astype(np.int64))
    return np.where(codes_N >= 0, cells.pick(sums) / totals_P[candidates.owners], np.nan).astype(np.float32)


def _intervals(facts: dict[str, FloatArray]) -> FloatArray:
    """Return each item's mean days between acts of one user, drawn to the shop's by five such users, shape (I,)."""
    repeaters_I = np.nan_to_num(facts["repeaters"])
    sums_I = np.nan_to_num(facts["interval_days"])
    return np.asarray((sums_I + 5 * _usual_interval(facts)) / (repeaters_I + 5), dtype=np.float32)


def _usual_interval(facts: dict[str, FloatArray]) -> float:
    """Return the mean days between acts of one user on one item; 0 where nobody acted twice."""
    repeaters = float(np.nan_to_num(facts["repeaters"]).sum())
    return float(np.nan_to_num(facts["interval_days"]).sum()) / max(repeaters, 1.0)


def _num_days(acts: Acts) -> FloatArray:
    """Return how many days each profile acted on, shape (P,); of acts without times, how many acts."""
    days_L = np.where(np.isnan(acts.ages_L), acts.places, np.floor(np.nan_to_num(acts.ages_L)))
    is_new_L = np.ones(days_L.size, dtype=np.bool_)
    is_new_L[1:] = (days_L[1:] != days_L[:-1]) | (acts.owners[1:] != acts.owners[:-1])
    return np.bincount(acts.owners[is_new_L], minlength=len(acts)).astype(np.float32)


def _units(vectors_PD: npt.NDArray[np.floating]) -> FloatArray:
    lengths_P1 = np.linalg.norm(vectors_PD, axis=1, keepdims=True)
    return np.asarray(vectors_PD / np.maximum(lengths_P1, 1e-12), dtype=np.float32)


def _without_zeros(matrix: sp.csr_array) -> sp.csr_array:
    matrix.eliminate_zeros()
    return matrix
