import numpy as np
import pytest

from recsys_batch.demo.behavior import EXAMINATION, draw_people_events
from recsys_batch.demo.catalog import NUM_LEAVES
from recsys_batch.demo.eventrows import CART, CLICK, IMPRESSION, PURCHASE, RATING, RETURN, SEARCH, VIEW
from recsys_batch.demo.sessions import EXPLORATION, draw_pages, draw_sessions
from recsys_batch.demo.spec import DAY_MS
from recsys_batch.demo.tastes import DRIFT, PERSON, TEST, drifted_weights


@pytest.fixture(scope="module")
def events(shop_spec, catalog, tastes):
    return draw_people_events(shop_spec, catalog, tastes)


@pytest.fixture(scope="module")
def purchases(events, tastes):
    return events.take((events.type == PURCHASE) & (tastes.account[events.user] == PERSON))


def test_users_have_forty_to_sixty_events_on_average_with_a_long_tail(shop_spec, events):
    counts = np.bincount(events.user, minlength=shop_spec.num_users)
    assert 40 <= counts.mean() <= 62
    assert np.median(counts) < 0.75 * counts.mean()
    assert counts.max() > 6 * counts.mean()


def test_events_stay_within_the_calendar(shop_spec, events):
    assert events.time.min() >= shop_spec.start_ms
    assert events.time.max() < shop_spec.stop_ms
    np.testing.assert_array_equal(events.arrival, events.time // DAY_MS)


def test_a_visit_goes_from_search_to_impressions_clicks_views_carts_and_purchases(events):
    order = {SEARCH: 0, IMPRESSION: 1, CLICK: 2, VIEW: 3, CART: 4, PURCHASE: 5}
    first: dict[tuple[int, int, int], dict[int, int]] = {}
    for user, session, item, kind, time in zip(
        events.user, events.session, events.item, events.type, events.time, strict=True
    ):
        if session >= 0 and int(kind) in order:
            moments = first.setdefault((user, session, item if kind != SEARCH else -1), {})
            assert int(kind) not in moments
            moments[int(kind)] = int(time)
    for (user, session, item), moments in first.items():
        times = [moments[kind] for kind in sorted(moments, key=lambda kind: order[kind])]
        assert times == sorted(times)
        search = first.get((user, session, -1), {}).get(SEARCH)
        assert item == -1 or search is None or search < times[0]


def test_positions_of_a_page_are_dense_from_one(events):
    shown = events.take(events.type == IMPRESSION)
    keys = shown.user << 16 | shown.session
    order = np.lexsort((shown.position, keys))
    starts = np.flatnonzero(np.diff(keys[order], prepend=-1))
    expected = np.arange(len(order)) - np.repeat(starts, np.diff(np.append(starts, len(order)))) + 1
    np.testing.assert_array_equal(shown.position[order], expected)


def test_clicks_decline_with_position(events):
    clicks = np.bincount(events.position[events.type == CLICK], minlength=9)[1:]
    shown = np.bincount(events.position[events.type == IMPRESSION], minlength=9)[1:]
    rates = clicks / shown
    assert (np.diff(rates) < 0.01).all()
    assert rates[7] < 0.4 * rates[0]


def test_the_planted_position_bias_is_what_separates_equally_liked_items(shop_spec, catalog, tastes, events):
    sessions = draw_sessions(shop_spec, tastes)
    pages = draw_pages(shop_spec, catalog, tastes, sessions)
    first = np.cumsum(tastes.num_sessions) - tastes.num_sessions
    clicked = np.zeros(pages.item.shape, dtype=bool)
    clicks = events.take(events.type == CLICK)
    clicked[first[clicks.user] + clicks.session, clicks.position - 1] = True
    alike = pages.shown & (sessions.kind < 2)[:, None] & (np.abs(pages.appeal) < 0.6)
    rates = np.array([clicked[alike[:, slot], slot].mean() for slot in range(4)])
    np.testing.assert_allclose(rates / rates[0], EXAMINATION[:4], atol=0.1)


def test_purchases_fall_in_the_interests_far_more_often_than_by_chance(catalog, tastes, purchases):
    leaf = catalog.leaf[purchases.item]
    share = (tastes.leaf[purchases.user] == leaf[:, None]).any(axis=1).mean()
    chance = (tastes.leaf >= 0).sum(axis=1)[purchases.user].mean() / NUM_LEAVES
    assert share > 1 - 2 * EXPLORATION
    assert share > 8 * chance


def test_within_an_interest_purchases_prefer_the_favorite_brand(catalog, tastes, purchases):
    interest = tastes.leaf[purchases.user] == catalog.leaf[purchases.item][:, None]
    place = interest.argmax(axis=1)
    matches = catalog.brand[purchases.item] == tastes.brand[purchases.user, place]
    assert matches[interest.any(axis=1)].mean() > 2 / 6


def test_the_last_days_follow_the_same_tastes(shop_spec, catalog, tastes, purchases):
    late = purchases.take(purchases.time >= shop_spec.stop_ms - 7 * DAY_MS)
    leaf = catalog.leaf[late.item]
    assert (tastes.leaf[late.user] == leaf[:, None]).any(axis=1).mean() > 1 - 2 * EXPLORATION


def test_tastes_drift_mildly(tastes):
    rows = np.flatnonzero((tastes.leaf >= 0).sum(axis=1) > 1)
    before = drifted_weights(tastes, rows, np.zeros(len(rows)))
    after = drifted_weights(tastes, rows, np.ones(len(rows)))
    np.testing.assert_allclose(after.sum(axis=1), 1)
    np.testing.assert_allclose(after[:, 0], (1 - DRIFT) * before[:, 0])


def test_interests_are_one_to_three_distinct_leaves(tastes):
    for leaves in tastes.leaf[tastes.account == PERSON].tolist():
        present = [leaf for leaf in leaves if leaf >= 0]
        assert 1 <= len(present) == len(set(present)) <= 3


def test_most_sessions_are_in_the_language_of_the_user(shop_spec, tastes):
    sessions = draw_sessions(shop_spec, tastes)
    language = tastes.language[sessions.row]
    assert (sessions.domain == language)[language < 2].mean() > 0.94
    assert (sessions.domain == 0)[language == 2].mean() == pytest.approx(0.5, abs=0.05)


def test_returns_and_ratings_follow_a_purchase(events):
    bought = {}
    kept = events.take(events.type == PURCHASE)
    for user, item, time in zip(kept.user, kept.item, kept.time, strict=True):
        bought[user, item] = min(time, bought.get((user, item), time))
    later = events.take((events.type == RETURN) | (events.type == RATING))
    assert len(later) > 0
    assert all(bought[user, item] < time for user, item, time in zip(later.user, later.item, later.time, strict=True))


def test_test_accounts_have_no_taste(tastes):
    assert (tastes.account == TEST).any()
    assert (tastes.leaf[tastes.account == TEST] == -1).all()
