"""Which group of items a user acted on most, from numbered acts; no JVM."""

import numpy as np
import pyarrow as pa

from recsys_batch.measure.hold_out import _facts_of_users
from recsys_batch.measure.known import Known
from recsys_batch.rules.baselines.log import Log


def test_users_are_in_the_group_of_most_of_their_acts():
    # Users a to d; items 0 and 1 are teas, 2 is a pot, 3 is in no category.
    acts = [
        (0, 0, 9.0),
        (0, 2, 5.0),
        (0, 2, 4.0),
        (1, 0, 3.0),
        (1, 2, 2.0),
        (2, 3, 1.0),
        (3, 3, 8.0),
        (3, 3, 7.0),
        (3, 1, 6.0),
    ]
    keys_E, items_E, ages_E = (np.array(column) for column in zip(*acts, strict=True))
    log = Log(keys_E, items_E, ages_E, 4, 4)
    known = Known(
        log, log, np.array(list("abcd"), dtype=object), np.array(list("0123"), dtype=object), np.ones(4, bool)
    )
    groups = pa.table(
        {"language": ["Chinese", "Latin letters", "Chinese", "Chinese"], "category": ["Tea", "Tea", "Pots", None]}
    )
    found = _facts_of_users(known, np.array([0, 1, 2, 3]), groups)
    assert found.to_pydict() == {
        "user_id": ["a", "b", "c", "d"],
        "num_acts": [3, 2, 1, 3],
        "days_since": [4.0, 2.0, 1.0, 6.0],
        "language": ["Chinese", "Chinese", "Chinese", "Chinese"],
        # Of equal ones the first by name; what is in no category does not count.
        "category": ["Pots", "Pots", None, "Tea"],
    }
    chosen = _facts_of_users(known, np.array([3, 0]), groups)
    assert chosen["category"].to_pylist() == ["Tea", "Pots"]
