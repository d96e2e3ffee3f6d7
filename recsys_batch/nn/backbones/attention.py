"""Self-attention over texts that lie back to back: how it is run without spending time on padding.

On the CPU, texts of equal length (neighbors, since batches are sorted by length) share one product, so nothing is
padded. On an accelerator, where many small products are slow, the texts are laid out in one padded grid, or handed to
a kernel for varying lengths where this build of torch has one that works.
Shapes: T tokens of all texts, B texts, L padded length, H hidden width, N heads, E head width. Queries are expected
to be scaled already.
"""

import functools
from collections.abc import Callable
from itertools import groupby
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

Attend = Callable[[Tensor], Tensor]
"""From queries, keys and values (T, 3H) to the attended values (T, H)."""

_CHUNK_TOKENS = 1024
"""Texts attended to together: their scores should stay in the processor's cache."""
_BITS_OF_80 = 0x42A0
_LONGEST_WHOLE = 512
"""Longer texts are left to the kernel that never holds a whole matrix of scores."""


def plan_chunks(lengths: list[int]) -> list[tuple[int, int]]:
    """Cut texts into runs `(count, length)` of equal length, in order; counts are powers of two.

    Powers of two keep the number of shapes small: oneDNN compiles a kernel for each shape.
    """
    chunks = []
    for length, run in groupby(lengths):
        left = sum(1 for _ in run)
        while left:
            most = max(1, min(left, _CHUNK_TOKENS // length))
            count = 1 << (most.bit_length() - 1)
            chunks.append((count, length))
            left -= count
    return chunks


def attend_by_length(lengths_B: Tensor, num_heads: int) -> Attend:
    """Return the attention of a batch that runs neighbors of equal length together; for the CPU."""
    chunks = plan_chunks(lengths_B.tolist())

    def attend(qkv_T3H: Tensor) -> Tensor:
        attended_TH = qkv_T3H.new_empty(qkv_T3H.shape[0], qkv_T3H.shape[1] // 3)
        start = 0
        for count, length in chunks:
            end = start + count * length
            parts_3BNLE = qkv_T3H[start:end].view(count, length, 3, num_heads, -1).permute(2, 0, 3, 1, 4)
            made_BNLE = attended_TH[start:end].view(count, length, num_heads, -1).transpose(1, 2)
            _attend_whole(parts_3BNLE, made_BNLE)
            start = end
        # Rows beyond the texts fill up the batch to a round number: all that counts is that they are finite.
        attended_TH[start:].zero_()
        return attended_TH

    return attend


def _attend_whole(parts_3BNLE: Tensor, out_BNLE: Tensor) -> None:
    """Write the attended values of texts of one length to `out_BNLE`; queries, keys and values come as one tensor."""
    if parts_3BNLE.dtype != torch.bfloat16 or parts_3BNLE.shape[3] > _LONGEST_WHOLE:
        query_BNLE, key_BNLE, value_BNLE = parts_3BNLE.unbind(0)
        out_BNLE.copy_(functional.scaled_dot_product_attention(query_BNLE, key_BNLE, value_BNLE, scale=1.0))
        return
    # Plain products in bfloat16 take half the time of torch's fused CPU kernel on short texts.
    query_BNLE, key_BNLE, value_BNLE = parts_3BNLE.contiguous().unbind(0)
    scores_BNLL = torch.matmul(query_BNLE, key_BNLE.transpose(-1, -2))
    if _fits_exp(scores_BNLL):
        # A softmax in parts: what it spends on short rows goes into one pass over all scores.
        weights_BNLL = scores_BNLL.exp_()
        torch.div(torch.matmul(weights_BNLL, value_BNLE), weights_BNLL.sum(-1, keepdim=True), out=out_BNLE)
    else:
        out_BNLE.copy_(torch.matmul(torch.softmax(scores_BNLL, dim=-1), value_BNLE))


def _fits_exp(scores: Tensor) -> bool:
    """Tell whether sums of the exponentials of bfloat16 scores neither overflow nor vanish: none is beyond +-80.

    Without the sign bit, larger numbers have larger bits; integers are compared several times as fast.
    """
    return int((scores.view(torch.int16) & 0x7FFF).max()) <= _BITS_OF_80


def attend_in_grid(lengths_B: Tensor, padded_length: int, num_heads: int, device: str) -> Attend:
    """Return the attention of a batch in one padded grid, the padding masked out; for accelerators.

    Index tensors are made on the device from the lengths alone, so the processor waits for nothing.
    """
    num_texts, num_tokens = lengths_B.shape[0], int(lengths_B.sum())
    is_full = num_tokens == num_texts * padded_length
    on_device_B = to_device(lengths_B, device)
    starts_B = on_device_B.cumsum(0) - on_device_B
    columns_L = torch.arange(padded_length, device=device)
    mask_BL = columns_L < on_device_B[:, None]
    # Slots of the padding repeat the text's first token: finite, and masked out.
    token_of_slot = (starts_B[:, None] + columns_L * mask_BL).flatten()
    rows_T = torch.repeat_interleave(torch.arange(num_texts, device=device), on_device_B, output_size=num_tokens)
    slot_of_token_T = torch.arange(num_tokens, device=device) + rows_T * padded_length - starts_B[rows_T]

    def attend(qkv_T3H: Tensor) -> Tensor:
        slots = qkv_T3H if is_full else qkv_T3H.index_select(0, token_of_slot)
        parts_3BNLE = slots.view(num_texts, padded_length, 3, num_heads, -1).permute(2, 0, 3, 1, 4)
        query_BNLE, key_BNLE, value_BNLE = parts_3BNLE.unbind(0)
        mask_B11L = None if is_full else mask_BL[:, None, None, :]
        made_BNLE = functional.scaled_dot_product_attention(
            query_BNLE, key_BNLE, value_BNLE, attn_mask=mask_B11L, scale=1.0
        )
        made = made_BNLE.transpose(1, 2).reshape(num_texts * padded_length, -1)
        return made if is_full else made.index_select(0, slot_of_token_T)

    return attend


def attend_varlen(lengths_B: Tensor, padded_length: int, num_heads: int, device: str) -> Attend:
    """Return the attention of a batch through torch's kernel for varying lengths; where `has_varlen` says so."""
    from torch.nn.attention.varlen import varlen_attn

    bounds = to_device(functional.pad(lengths_B.cumsum(0), (1, 0)).to(torch.int32), device)

    def attend(qkv_T3H: Tensor) -> Tensor:
        query_TNE, key_TNE, value_TNE = qkv_T3H.view(qkv_T3H.shape[0], 3, num_heads, -1).unbind(1)
        made_TNE: Any = varlen_attn(
            query_TNE, key_TNE, value_TNE, bounds, bounds, padded_length, padded_length, scale=1.0
        )
        attended_TH: Tensor = made_TNE.reshape(qkv_T3H.shape[0], -1)
        return attended_TH

    return attend


@functools.cache
def has_varlen(device: str, dtype: torch.dtype, num_heads: int, head_width: int) -> bool:
    """Tell whether the kernel for varying lengths runs here and agrees with the padded grid on a small batch."""
    if not device.startswith("cuda") or dtype not in (torch.bfloat16, torch.float16):
        return False
    lengths_B = torch.tensor([5, 3, 9])
    generator = torch.Generator().manual_seed(0)
    qkv_T3H = torch.randn(17, 3 * num_heads * head_width, generator=generator).to(device, dtype) * head_width**-0.25
    try:
        made = attend_varlen(lengths_B, 9, num_heads, device)(qkv_T3H)
    except (RuntimeError, ImportError, TypeError, NotImplementedError):
        return False
    expected = attend_in_grid(lengths_B, 9, num_heads, device)(qkv_T3H)
    return bool((made.float() - expected.float()).abs().max() < 0.05)


def to_device(tensor: Tensor, device: str) -> Tensor:
    """Copy a CPU tensor to `device`; to an accelerator from pinned memory and without waiting."""
    if device == "cpu":
        return tensor
    return tensor.pin_memory().to(device, non_blocking=True)
