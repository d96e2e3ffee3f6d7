"""How likely each of a user's candidates is the next: a ranking model over named features of candidates.

Most features are numbers that the night knows anyway (`CANDIDATE_FEATURES`); they are standardized by the training
candidates, and a missing one (NaN) counts as average, with a flag that says so. One is made here: how much the history
is about the candidate, by attention from the candidate over the history's vectors (as DIN: Zhou et al., 2018).

Shapes: U users, C candidates of a user, F features, L events, D width of the vectors.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

CANDIDATE_FEATURES = (
    "content_similarity",
    "content_similarity_last",
    "sequence_score",
    "covisitation_score",
    "cf_score",
    "popularity",
    "recent_popularity",
    "price_fit",
    "category_affinity",
    "brand_affinity",
    "recency",
    "seen",
)
"""Names that the night's features go by; a ranker takes any subset of them, or others."""


@dataclass(frozen=True)
class CandidateLists:
    """The candidates of U users, filled up on the right to C."""

    features_UCF: Tensor
    """float32; NaN where not known. Any value where filled up."""
    mask_UC: Tensor
    """True for candidates."""
    candidates_UCD: Tensor | None = None
    """Vectors of the candidates, where the history's attention is a feature."""
    history_ULD: Tensor | None = None
    history_mask_UL: Tensor | None = None

    def __post_init__(self) -> None:
        """Raise ValueError where the shapes do not go together."""
        given = [part is not None for part in (self.candidates_UCD, self.history_ULD, self.history_mask_UL)]
        if self.features_UCF.shape[:2] != self.mask_UC.shape or (any(given) and not all(given)):
            raise ValueError(
                f"features {tuple(self.features_UCF.shape)} need a mask of their first two sizes, not "
                f"{tuple(self.mask_UC.shape)}; and vectors of candidates and history, with its mask, come together"
            )

    def take(self, rows: Tensor) -> "CandidateLists":
        """Return the lists of some users."""
        parts = (self.candidates_UCD, self.history_ULD, self.history_mask_UL)
        return CandidateLists(
            self.features_UCF[rows], self.mask_UC[rows], *(None if part is None else part[rows] for part in parts)
        )

    def to(self, device: torch.device) -> "CandidateLists":
        """Return the same on a device."""
        parts = (self.candidates_UCD, self.history_ULD, self.history_mask_UL)
        return CandidateLists(
            self.features_UCF.to(device),
            self.mask_UC.to(device),
            *(None if part is None else part.to(device) for part in parts),
        )


class CandidateScorer(Protocol):
    """Scores candidates; higher is better, and only the order within a user means something."""

    def score(self, lists: CandidateLists) -> Tensor:
        """Return (U, C), -inf where a list is filled up."""


@dataclass(frozen=True)
class FeatureScale:
    """What a ranker's features are called, and their mean and spread over the training candidates."""

    names: tuple[str, ...]
    mean_F: NDArray[np.float64]
    spread_F: NDArray[np.float64]

    @classmethod
    def of(cls, names: Sequence[str], lists: CandidateLists) -> "FeatureScale":
        """Measure it. A feature that never varies, or is never known, gets spread 1."""
        rows_NF = lists.features_UCF[lists.mask_UC].double().numpy()
        if rows_NF.shape[1] != len(names):
            raise ValueError(f"{rows_NF.shape[1]} features do not go with the {len(names)} names {tuple(names)}")
        known_NF = ~np.isnan(rows_NF)
        count_F = np.maximum(known_NF.sum(0), 1)
        mean_F = np.where(known_NF, rows_NF, 0.0).sum(0) / count_F
        spread_F = np.sqrt((np.where(known_NF, rows_NF - mean_F, 0.0) ** 2).sum(0) / count_F)
        return cls(tuple(names), mean_F, np.where(spread_F > 1e-9, spread_F, 1.0))


class CandidateRanker(nn.Module):
    """A linear model and a small network over the standardized features, summed.

    The linear part starts at 0 and so does the network's last layer: untrained, every candidate scores 0. With
    `hidden` 0 there is no network, and a score is arithmetic that can be read off `weights()`.
    """

    mean_F: Tensor
    spread_F: Tensor

    def __init__(
        self, scale: FeatureScale, hidden: int = 32, vector_dim: int = 0, dropout: float = 0.1, seed: int = 0
    ) -> None:
        """Take `vector_dim` above 0 for the history's attention as one more feature. Random weights by `seed`."""
        super().__init__()
        self.names = scale.names
        self.register_buffer("mean_F", torch.from_numpy(scale.mean_F).float())
        self.register_buffer("spread_F", torch.from_numpy(scale.spread_F).float())
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.attention = HistoryAttention(vector_dim) if vector_dim else None
            width = 2 * len(scale.names) + (1 if vector_dim else 0)
            self.linear = nn.Linear(width, 1, bias=False)
            nn.init.zeros_(self.linear.weight)
            self.network: nn.Module | None = None
            if hidden:
                last = nn.Linear(hidden, 1)
                nn.init.zeros_(last.weight)
                nn.init.zeros_(last.bias)
                self.network = nn.Sequential(
                    nn.Linear(width, hidden), nn.GELU(), nn.Dropout(dropout), nn.Linear(hidden, hidden), nn.GELU(), last
                )

    def forward(self, lists: CandidateLists) -> Tensor:
        """Return scores (U, C); those of what fills a list up mean nothing, but are finite."""
        known_UCF = ~lists.features_UCF.isnan() & lists.mask_UC[:, :, None]
        standard_UCF = ((lists.features_UCF - self.mean_F) / self.spread_F).masked_fill(~known_UCF, 0.0)
        inputs = [standard_UCF, (~known_UCF).to(standard_UCF.dtype)]
        if self.attention is not None:
            if lists.candidates_UCD is None or lists.history_ULD is None or lists.history_mask_UL is None:
                raise ValueError("this ranker attends to histories; give the vectors of candidates and history")
            attended_UC = self.attention(lists.candidates_UCD, lists.history_ULD, lists.history_mask_UL)
            inputs.append(attended_UC[:, :, None])
        inputs_UCF = torch.cat(inputs, dim=2)
        scores_UC: Tensor = self.linear(inputs_UCF).squeeze(-1)
        return scores_UC if self.network is None else scores_UC + self.network(inputs_UCF).squeeze(-1)

    def score(self, lists: CandidateLists) -> Tensor:
        """Return (U, C) on the CPU without dropout or gradients, -inf where a list is filled up."""
        was_training = self.training
        self.eval()
        try:
            with torch.no_grad():
                scores_UC: Tensor = self(lists.to(self.mean_F.device)).cpu()
        finally:
            self.train(was_training)
        return scores_UC.masked_fill(~lists.mask_UC.cpu(), -torch.inf)

    def weights(self) -> dict[str, float]:
        """Return what the linear part gives for one spread of each feature."""
        return dict(zip(self.names, self.linear.weight[0].tolist(), strict=False))


class HistoryAttention(nn.Module):
    """The candidate's cosine with the mean of the history, each event weighing by its own likeness to the candidate."""

    def __init__(self, dim: int) -> None:
        """Start from the vectors as they are: cosines, sharpened by a learned factor."""
        super().__init__()
        self.project = nn.Linear(dim, dim, bias=False)
        nn.init.eye_(self.project.weight)
        self.log_sharpness = nn.Parameter(torch.tensor(5.0).log())

    def forward(self, candidates_UCD: Tensor, history_ULD: Tensor, history_mask_UL: Tensor) -> Tensor:
        """Return (U, C): the weighted mean of the cosines; 0 for who has no history."""
        candidates_UCD = nn.functional.normalize(self.project(candidates_UCD), dim=2)
        history_ULD = nn.functional.normalize(self.project(history_ULD), dim=2)
        cosines_UCL = candidates_UCD @ history_ULD.transpose(1, 2)
        logits_UCL = (self.log_sharpness.exp() * cosines_UCL).masked_fill(~history_mask_UL[:, None, :], -1e9)
        attended_UC: Tensor = (logits_UCL.softmax(2) * cosines_UCL).sum(2)
        return attended_UC * history_mask_UL.any(1)[:, None]
