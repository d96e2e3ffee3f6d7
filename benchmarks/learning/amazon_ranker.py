"""The ranking model of `amazon.py --ranker`: the first candidates of the retrieval, in an order learned on valid cases.

Fitted where the valid targets are among the candidates of models that never saw them; applied to the candidates of the
models that learned from both. Reported apart: it is no retrieval.
"""

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from benchmarks.learning.amazon_data import Part, item_counts
from benchmarks.learning.amazon_peers import recency_weights
from benchmarks.learning.amazon_sequence import join_models
from recsys_batch.contracts.config.training import Loop, Optimizer
from recsys_batch.nn.scoring.ranker import CandidateLists, CandidateRanker, FeatureScale
from recsys_batch.nn.scoring.sequence_model import SequenceModel
from recsys_batch.nn.scoring.topk import ItemBlock, exact_topk
from recsys_batch.training.loop.run import train
from recsys_batch.training.tasks.candidate_ranking import CandidateRankingTask, RankedCandidates
from recsys_batch.training.transitions import count_transitions

NUM_CANDIDATES = 200
FEATURES = (
    "sequence_score",
    "content_similarity",
    "content_similarity_last",
    "covisitation_score",
    "popularity",
    "seen",
)


@dataclass(frozen=True)
class Candidates:
    """The first candidates of every case, with features; gain 1 for the target."""

    ranked: RankedCandidates

    @classmethod
    def of(cls, part: Part, models: list[SequenceModel], vectors_IC: Tensor) -> "Candidates":
        """Take them from the models trained on the part's sequences."""
        num_items = len(vectors_IC)
        joined = join_models(part, models, vectors_IC)
        top = exact_topk(
            joined.vectors(part.cases.histories), [ItemBlock(0, joined.item_vectors())], min(NUM_CANDIDATES, num_items)
        )
        candidates_UC, weights_UI = top.indices_QK, recency_weights(part, num_items, 0.5)
        last_UI = (weights_UI >= 1.0).float()
        strengths_II = torch.from_numpy(count_transitions(part.sequences.items, num_items))
        counts_I = torch.from_numpy(item_counts(part.sequences, num_items)).float()
        columns = (
            top.scores_QK,
            (weights_UI @ vectors_IC @ vectors_IC.T).gather(1, candidates_UC),
            (last_UI @ vectors_IC @ vectors_IC.T).gather(1, candidates_UC),
            (weights_UI @ strengths_II).gather(1, candidates_UC).log1p(),
            counts_I.log1p()[candidates_UC],
            (weights_UI > 0).float().gather(1, candidates_UC),
        )
        lists = CandidateLists(torch.stack(columns, dim=2), torch.ones_like(candidates_UC, dtype=torch.bool))
        targets_U = torch.from_numpy(part.cases.targets_N)
        return cls(RankedCandidates(lists, (candidates_UC == targets_U[:, None]).float()))


def rank_anew(valid: Candidates, test: Candidates, folder: Path, seed: int) -> tuple[np.ndarray, float]:
    """Return the test targets' ranks by a ranking model fitted on the valid cases, and the seconds of fitting."""
    started = time.monotonic()
    ranker = CandidateRanker(FeatureScale.of(FEATURES, valid.ranked.lists), hidden=16, dropout=0.1, seed=seed)
    task = CandidateRankingTask(ranker, valid.ranked)
    optimizer = Optimizer(head_learning_rate=3e-3, weight_decay=0.1)
    train([task], Loop(seed=seed, epochs=5, batch_size=64, optimizer=optimizer), folder, resume=False)
    return test.ranked.best_ranks(ranker.score(test.ranked.lists)), time.monotonic() - started
