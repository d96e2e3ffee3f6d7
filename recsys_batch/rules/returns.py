"""Which purchases a return takes back. Pure Python over one user's history of one item."""

from collections.abc import Sequence


def match_returns(is_return: Sequence[bool], quantities: Sequence[float]) -> list[float]:
    """Match returns with purchases of one user and item, given in the order of time; quantities are not negative.

    Returns one number a row: how much of a purchase was taken back, or how much of a return was matched. A return
    takes back the newest purchases before it; what exceeds them (bought before the log began) stays unmatched.
    """
    matched = [0.0] * len(quantities)
    open_purchases: list[int] = []
    for place, (returned, quantity) in enumerate(zip(is_return, quantities, strict=True)):
        if not returned:
            open_purchases.append(place)
            continue
        left = quantity
        while left > 0 and open_purchases:
            newest = open_purchases[-1]
            taken = min(left, quantities[newest] - matched[newest])
            matched[newest] += taken
            matched[place] += taken
            left -= taken
            if matched[newest] >= quantities[newest]:
                open_purchases.pop()
    return matched
