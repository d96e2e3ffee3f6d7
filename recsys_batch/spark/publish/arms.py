"""Who is in which arm of an experiment: a hash of its name and the user's id, and nothing else.

So a user stays in an arm whatever the night, the cluster and the other users are, and anyone can tell it outside Spark:
the first 13 hex digits of `sha256(name + ":" + user_id)` as a number, over 16^13.
"""

from collections.abc import Mapping

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from recsys_batch.contracts.config.experiment import Experiment

# 52 bits, which a double holds exactly.
_DIGITS = 13


def arm_of(user: Column, experiment: Experiment) -> Column:
    """Return the name of the arm that the user with this id is in."""
    digits = F.substring(F.sha2(F.concat(F.lit(f"{experiment.name}:"), user), 256), 1, _DIGITS)
    draw = F.conv(digits, 16, 10).cast("double") / F.lit(float(16**_DIGITS))
    *edged, (last, _) = zip(experiment.arms, experiment.upper_edges(), strict=True)
    name = F.lit(last.name)
    for arm, edge in reversed(edged):
        name = F.when(draw < edge, F.lit(arm.name)).otherwise(name)
    return name


def by_arm(user: Column, experiment: Experiment, values: Mapping[str, int]) -> Column:
    """Return the value of the arm (name -> value) that the user is in."""
    arm = arm_of(user, experiment)
    found = F.lit(None).cast("int")
    for name, value in values.items():
        found = F.when(arm == name, F.lit(value)).otherwise(found)
    return found


def count_lists(lists: DataFrame, experiment: Experiment) -> dict[str, int]:
    """Return how many users of user lists with the column `arm` are in each arm of the experiment."""
    counted = lists.groupBy("arm").agg(F.count_distinct("user_id").alias("users")).collect()
    users = {row.arm: int(row.users) for row in counted}
    return {arm.name: users.get(arm.name, 0) for arm in experiment.arms}
