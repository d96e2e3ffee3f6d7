import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from recsys_batch.demo.draws import hashes, integers, mix, normal, uniform, weighted
from recsys_batch.demo.eventrows import hex_ids


def test_a_draw_depends_on_its_keys_and_not_on_its_neighbors():
    together = uniform(7, "name", np.arange(100)[:, None], np.arange(5)[None, :])
    alone = uniform(7, "name", np.array([42]), np.array([3]))
    assert together[42, 3] == alone[0]


def test_seed_name_and_order_of_keys_matter():
    base = hashes(7, "name", 1, 2)[0]
    others = [hashes(8, "name", 1, 2), hashes(7, "other", 1, 2), hashes(7, "name", 2, 1), hashes(7, "name", 1)]
    assert all(base != other[0] for other in others)


@given(st.integers(0, 2**63 - 1))
def test_draws_are_spread_evenly_for_any_seed(seed):
    points = uniform(seed, "spread", np.arange(4000))
    assert points.min() >= 0
    assert points.max() < 1
    assert abs(points.mean() - 0.5) < 0.03
    assert abs(normal(seed, "spread", np.arange(4000)).std() - 1) < 0.08


def test_integers_and_weighted_stay_within_bounds():
    assert set(integers(1, "dice", 6, np.arange(1000)).tolist()) == set(range(6))
    drawn = weighted(uniform(1, "weights", np.arange(20_000)), [1, 0, 3])
    shares = np.bincount(drawn, minlength=3) / len(drawn)
    np.testing.assert_allclose(shares, [1 / 4, 0, 3 / 4], atol=0.02)


def test_mixing_keeps_distinct_keys_distinct():
    keys = np.arange(100_000)
    with np.errstate(over="ignore"):
        assert len(np.unique(mix(keys.astype(np.uint64)))) == len(keys)
    ids = hex_ids(keys, "e")
    assert len(set(ids)) == len(keys)
    assert {len(name) for name in ids} == {17}
