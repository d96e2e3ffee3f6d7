"""What a shopper wants next, from the items, kinds and times of the last events: one vector, to be used by dot product.

Items enter as their text vectors, so one that was never seen in training can be recommended, and can stand in a
history; items seen in training have a learned residual besides. A score is a sum of four things:

- content: the history's text vectors, the newer the heavier, times the item's;
- what a causal transformer makes of the history (as SASRec: Kang and McAuley, 2018), with attention biases by distance
  and elapsed time in place of positions (as HSTU: Zhai et al., 2024), times the item's learned vector;
- a memory of which item came after which, low-rank and direct (Rendle et al., 2010): the history's codes, the newer the
  heavier, times the item's. It can start from counted transitions, see `training.transitions`;
- the item's popularity. In training it counts in full, so that what is learned is how much likelier than usual an item
  is (logit adjustment: Menon et al., 2021); when served it counts little, for what sold once may not sell now.

All four are columns of one user vector and one item vector, so exact top-N needs nothing else.

Shapes: B users, L events, I items, R items with residuals, C content width, D learned width, M memory width,
V = C + D + M + 1 width of the vectors, H heads.
"""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

_NEVER = -1e9
_FAR = 32
_GAP_BUCKETS = 32


@dataclass(frozen=True)
class Histories:
    """The last events of B users, oldest first, filled up on the right."""

    items_BL: Tensor
    """int64 rows of the item table; -1 where filled up."""
    events_BL: Tensor
    """int64 event types; any value where filled up."""
    gaps_BL: Tensor
    """Seconds since the event before (float, not negative); 0 for the first, and everywhere where there is no clock."""

    def to(self, device: torch.device) -> "Histories":
        """Return the same on a device."""
        return Histories(self.items_BL.to(device), self.events_BL.to(device), self.gaps_BL.to(device))


@dataclass(frozen=True)
class ItemTable:
    """What is known of I items."""

    content_IC: Tensor
    """Text vectors of length 1, float32."""
    residual_I: Tensor
    """int64 row of the item's learned residual; -1 for items that training has not seen."""

    def to(self, device: torch.device) -> "ItemTable":
        """Return the same on a device."""
        return ItemTable(self.content_IC.to(device), self.residual_I.to(device))


@dataclass(frozen=True)
class SequenceShape:
    """The size of a sequence model, and how it is regularized."""

    content_dim: int
    num_residuals: int
    """Items that have a learned residual."""
    dim: int = 128
    memory_dim: int = 128
    """Width of the memory; 0: none."""
    layers: int = 1
    heads: int = 2
    dropout: float = 0.3
    residual_dropout: float = 0.2
    """Share of the items that a training batch treats as never seen, so that the content alone has to do."""
    num_events: int = 1
    """Event types."""
    content_scale: float = 15.0
    """Factor of the cosines at the start; what the softmax's inverse temperature is for a history of one item."""
    popularity: float = 0.1
    """Factor of log(1 + count) of an item in training's sequences, when served."""
    training_popularity: float = 1.0
    """The same in training."""

    def __post_init__(self) -> None:
        """Raise ValueError for sizes that do not go together."""
        if (
            min(self.content_dim, self.dim, self.heads, self.num_events) < 1
            or min(self.num_residuals, self.layers, self.memory_dim) < 0
        ):
            raise ValueError(f"sizes must be positive: {self}")
        if self.dim % self.heads:
            raise ValueError(f"dim ({self.dim}) must be a multiple of heads ({self.heads})")
        if not (0 <= self.dropout < 1 and 0 <= self.residual_dropout < 1 and self.content_scale > 0):
            raise ValueError(f"dropouts must lie in [0, 1) and content_scale above 0: {self}")


class UserModel(Protocol):
    """Users and items as vectors whose dot products rank; what exact top-N needs of a model."""

    def vectors(self, histories: Histories) -> Tensor:
        """Return one vector a user (B, V), for the time after the last event."""

    def item_vectors(self) -> Tensor:
        """Return one vector an item (I, V)."""


class SequenceModel(nn.Module):
    """Histories to vectors (B, L, V) after every event, items to vectors (I, V)."""

    log_popularity: Tensor

    def __init__(self, shape: SequenceShape, counts_R: Tensor | None = None, seed: int = 0) -> None:
        """Start from random weights by `seed`; the learned part of every score is 0, the content part is not.

        `counts_R` says how often each item that has a residual occurs in training; none: popularity is not known.
        Raises ValueError for another number of counts than residuals.
        """
        super().__init__()
        counts_R = torch.zeros(shape.num_residuals) if counts_R is None else counts_R
        if len(counts_R) != shape.num_residuals:
            raise ValueError(f"{len(counts_R)} counts do not go with {shape.num_residuals} residuals")
        self.register_buffer("log_popularity", counts_R.float().log1p())
        self.shape = shape
        dim, width = shape.dim, shape.content_dim
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.project_in = nn.Linear(width, dim)
            self.project_out = nn.Linear(width, dim, bias=False)
            nn.init.zeros_(self.project_out.weight)
            self.residual_in = nn.Parameter(0.02 * torch.randn(shape.num_residuals, dim))
            # From 0, so that an untrained model ranks by content alone and what is learned only adds to that.
            self.residual_out = nn.Parameter(torch.zeros(shape.num_residuals, dim))
            self.event_embedding = nn.Parameter(torch.zeros(shape.num_events, dim))
            self.recency = _Recency(shape.num_events)
            self.memory_recency = _Recency(shape.num_events)
            codes_RM = torch.randn(shape.num_residuals, shape.memory_dim) / max(1, shape.memory_dim) ** 0.5
            self.memory_in = nn.Parameter(codes_RM)
            self.memory_out = nn.Parameter(torch.zeros(shape.num_residuals, shape.memory_dim))
            self.blocks = nn.ModuleList(_Block(dim, shape.heads, shape.dropout) for _ in range(shape.layers))
            self.norm = nn.LayerNorm(dim)
            self.dropout = nn.Dropout(shape.dropout)
        self.log_scale = nn.Parameter(torch.tensor(float(shape.content_scale)).log())

    def start_memory(self, in_RM: Tensor, out_RM: Tensor) -> None:
        """Set the codes of items in histories and of items to recommend. Raises ValueError for other shapes."""
        for name, given, kept in (("in_RM", in_RM, self.memory_in), ("out_RM", out_RM, self.memory_out)):
            if given.shape != kept.shape:
                raise ValueError(f"{name} is {tuple(given.shape)}; this model's memory is {tuple(kept.shape)}")
            with torch.no_grad():
                kept.copy_(given)

    def item_vectors(self, table: ItemTable) -> Tensor:
        """Return (I, V): content, learned vector, memory, popularity (the last two 0 for items unseen in training)."""
        return self._outputs(table, self._is_known(table))

    def states(self, histories: Histories, table: ItemTable) -> Tensor:
        """Return (B, L, V) for the time after each event; the rows of padding mean nothing."""
        return self._states(histories, table, self._is_known(table))

    def scored(self, histories: Histories, table: ItemTable) -> tuple[Tensor, Tensor]:
        """Return states (B, L, V) and item vectors (I, V) that agree on which items count as seen in training."""
        known_I = self._is_known(table)
        return self._states(histories, table, known_I), self._outputs(table, known_I)

    def vectors(self, histories: Histories, table: ItemTable) -> Tensor:
        """Return (B, V) for the time after the last event; who has no event gets the popular items."""
        mask_BL = histories.items_BL >= 0
        states_BLV = self.states(histories, table)
        last_B = mask_BL.sum(1) - 1
        vectors_BV = states_BLV[torch.arange(len(last_B), device=last_B.device), last_B.clamp(min=0)]
        nothing_V = torch.zeros_like(vectors_BV[:1])
        nothing_V[:, -1] = 1.0
        return torch.where((last_B >= 0)[:, None], vectors_BV, nothing_V)

    def _is_known(self, table: ItemTable) -> Tensor:
        known_I = table.residual_I >= 0
        if self.training and self.shape.residual_dropout:
            known_I = known_I & (torch.rand(known_I.shape, device=known_I.device) >= self.shape.residual_dropout)
        return known_I

    def _residual(self, rows: Tensor, table: ItemTable, known_I: Tensor) -> Tensor:
        if not self.shape.num_residuals:
            return rows.new_zeros((len(table.residual_I), *rows.shape[1:]))
        found = rows[table.residual_I.clamp(min=0)]
        return found * known_I.to(found.dtype).view(-1, *[1] * (found.ndim - 1))

    def _outputs(self, table: ItemTable, known_I: Tensor) -> Tensor:
        learned_ID = self.project_out(table.content_IC) + self._residual(self.residual_out, table, known_I)
        weight = self.shape.training_popularity if self.training else self.shape.popularity
        popularity_I = weight * self._residual(self.log_popularity, table, table.residual_I >= 0)
        memory_IM = self._residual(self.memory_out, table, known_I)
        return torch.cat([table.content_IC, learned_ID, memory_IM, popularity_I[:, None]], dim=1)

    def _states(self, histories: Histories, table: ItemTable, known_I: Tensor) -> Tensor:
        mask_BL = histories.items_BL >= 0
        rows_BL = histories.items_BL.clamp(min=0)
        events_BL = histories.events_BL.masked_fill(~mask_BL, 0)
        content_BLC = table.content_IC[rows_BL] * mask_BL[:, :, None]
        inputs_ID = self.project_in(table.content_IC) + self._residual(self.residual_in, table, known_I)
        inputs_BLD = self.dropout(inputs_ID[rows_BL] + self.event_embedding[events_BL]) * mask_BL[:, :, None]
        pairs = _Pairs.of(mask_BL, events_BL, histories.gaps_BL)
        states_BLD = inputs_BLD
        for block in self.blocks:
            states_BLD = block(states_BLD, pairs)
        learned_BLD = self.norm(states_BLD)
        codes_BLM = self._residual(self.memory_in, table, known_I)[rows_BL]
        remembered_BLM = self.memory_recency(pairs) @ codes_BLM
        wanted_BLC = self.log_scale.exp() * (self.recency(pairs) @ content_BLC)
        ones_BL1 = torch.ones_like(learned_BLD[:, :, :1])
        return torch.cat([wanted_BLC, learned_BLD, remembered_BLM, ones_BL1], dim=2)


@dataclass(frozen=True)
class _Pairs:
    """How an event (first L) stands to another (second L) that it may look at: itself and those before."""

    seen_BLL: Tensor
    distance_LL: Tensor
    gap_BLL: Tensor
    """Bucket of the time between them: 0 for none, then doubling from a second on."""
    events_BL: Tensor

    @classmethod
    def of(cls, mask_BL: Tensor, events_BL: Tensor, gaps_BL: Tensor) -> "_Pairs":
        length = mask_BL.shape[1]
        place_L = torch.arange(length, device=mask_BL.device)
        distance_LL = place_L[:, None] - place_L[None, :]
        time_BL = gaps_BL.double().masked_fill(~mask_BL, 0.0).cumsum(1)
        elapsed_BLL = (time_BL[:, :, None] - time_BL[:, None, :]).clamp(min=0.0)
        gap_BLL = (elapsed_BLL + 1).log2().ceil().long().clamp(max=_GAP_BUCKETS - 1)
        return cls((distance_LL >= 0) & mask_BL[:, None, :], distance_LL.clamp(0, _FAR - 1), gap_BLL, events_BL)


class _Recency(nn.Module):
    """Weights (B, L, L) of earlier events: 1 for the newest, falling with distance and time, by kind of event."""

    def __init__(self, num_events: int) -> None:
        super().__init__()
        self.rate = nn.Parameter(torch.tensor(0.0))  # softplus(0) = log 2: each older event weighs half of the next
        self.by_gap = nn.Parameter(torch.zeros(_GAP_BUCKETS))
        self.by_event = nn.Parameter(torch.zeros(num_events))

    def forward(self, pairs: _Pairs) -> Tensor:
        log_BLL = (
            -functional.softplus(self.rate) * pairs.distance_LL
            + (self.by_gap - self.by_gap[0])[pairs.gap_BLL]
            + self.by_event[pairs.events_BL][:, None, :]
        )
        return log_BLL.exp() * pairs.seen_BLL


class _Block(nn.Module):
    """Pre-norm attention with relative biases, then a feed-forward network of twice the width."""

    def __init__(self, dim: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.attention_norm, self.forward_norm = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.query_key_value, self.output = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
        self.by_distance = nn.Parameter(torch.zeros(_FAR, heads))
        self.by_gap = nn.Parameter(torch.zeros(_GAP_BUCKETS, heads))
        self.widen, self.narrow = nn.Linear(dim, 2 * dim), nn.Linear(2 * dim, dim)
        self.dropout = nn.Dropout(dropout)

    def forward(self, states_BLD: Tensor, pairs: _Pairs) -> Tensor:
        batch, length, dim = states_BLD.shape
        parts = self.query_key_value(self.attention_norm(states_BLD)).view(batch, length, 3, self.heads, -1)
        query_BHLK, key_BHLK, value_BHLK = parts.permute(2, 0, 3, 1, 4)
        bias_BHLL = (self.by_distance[pairs.distance_LL] + self.by_gap[pairs.gap_BLL]).permute(0, 3, 1, 2)
        # Padding looks at itself, so that no row is without anything to look at.
        itself_LL = torch.eye(length, dtype=torch.bool, device=states_BLD.device)
        attended_BHLK = functional.scaled_dot_product_attention(
            query_BHLK,
            key_BHLK,
            value_BHLK,
            attn_mask=bias_BHLL.masked_fill(~(pairs.seen_BLL | itself_LL)[:, None], _NEVER),
            dropout_p=self.dropout.p if self.training else 0.0,
        )
        states_BLD = states_BLD + self.dropout(self.output(attended_BHLK.transpose(1, 2).reshape(batch, length, dim)))
        hidden = self.dropout(functional.gelu(self.widen(self.forward_norm(states_BLD))))
        moved_BLD: Tensor = states_BLD + self.dropout(self.narrow(hidden))
        return moved_BLD
