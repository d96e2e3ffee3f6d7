"""Candidates with their scores, as rankers hand them on: `schemas.SCORED`, each profile's best first."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from recsys_batch.contracts.schemas import SCORED
from recsys_batch.rules.blend import list_order
from recsys_batch.workers.profiles import Candidates


def scored_batch(
    batch: pa.RecordBatch,
    candidates: Candidates,
    proposed_N: npt.NDArray[np.int64],
    scores_N: npt.NDArray[np.float32],
    main_sources_N: npt.NDArray[np.int64],
) -> pa.RecordBatch:
    """Return the candidates of a batch of `schemas.CANDIDATES` in ranked order, with what is known of the profiles.

    N: the candidates of all profiles together.
    """
    order_N = list_order(scores_N, candidates.items_N, candidates.starts_P)
    starts = pa.array(candidates.starts_P.astype(np.int32))
    values: dict[str, npt.NDArray[Any]] = {
        "items": candidates.items_N,
        "proposed": proposed_N,
        "scores": scores_N,
        "main_source": main_sources_N,
    }
    columns = {
        name: pa.ListArray.from_arrays(starts, pa.array(each[order_N]).cast(SCORED.field(name).type.value_type))
        for name, each in values.items()
    }
    return pa.record_batch(
        [columns[name] if name in columns else batch.column(name) for name in SCORED.names], schema=SCORED
    )
