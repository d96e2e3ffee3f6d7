import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys_batch.rules.returns import match_returns

BOUGHT, RETURNED = False, True


@pytest.mark.parametrize(
    ("log", "matched"),
    [
        ([], []),
        ([(BOUGHT, 2)], [0]),
        ([(RETURNED, 2)], [0]),
        ([(BOUGHT, 2), (RETURNED, 2)], [2, 2]),
        ([(BOUGHT, 2), (RETURNED, 1), (RETURNED, 1), (RETURNED, 1)], [2, 1, 1, 0]),
        ([(BOUGHT, 3), (BOUGHT, 2), (RETURNED, 4)], [2, 2, 4]),
        ([(BOUGHT, 1), (RETURNED, 1), (BOUGHT, 1)], [1, 1, 0]),
        ([(BOUGHT, 0), (BOUGHT, 1), (RETURNED, float("inf"))], [0, 1, 1]),
    ],
)
def test_returns_take_back_the_newest_open_purchases(log, matched):
    assert match_returns([r for r, _ in log], [q for _, q in log]) == matched


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 5)), max_size=30))
def test_single_pieces_on_a_stack_give_the_same(log):
    stack: list[int] = []
    expected = [0] * len(log)
    for place, (returned, pieces) in enumerate(log):
        for _ in range(pieces):
            if not returned:
                stack.append(place)
            elif stack:
                expected[stack.pop()] += 1
                expected[place] += 1
    assert match_returns([r for r, _ in log], [float(q) for _, q in log]) == expected
