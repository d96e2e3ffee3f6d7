"""Attention of texts that lie back to back, in bfloat16 on the CPU, against softmax attention in double precision."""

import math

import pytest
import torch
from torch import Tensor

from recsys_batch.nn.backbones.attention import attend_by_length
from recsys_batch.nn.backbones.linear import FixedLinear, round_rows

HEADS, WIDTH = 3, 8


def attend_exactly(qkv_T3H: Tensor, lengths: list[int]) -> Tensor:
    made = []
    for text in qkv_T3H.double().split(lengths):
        query_NLE, key_NLE, value_NLE = text.view(len(text), 3, HEADS, WIDTH).permute(1, 2, 0, 3)
        # Scores are stored in bfloat16, where 80 is a neighbor of 80.5.
        shares_NLL = torch.softmax((query_NLE @ key_NLE.transpose(1, 2)).bfloat16().double(), -1)
        made.append((shares_NLL @ value_NLE).transpose(0, 1).reshape(len(text), -1))
    return torch.cat(made)


@pytest.mark.parametrize("size", [0.5, 40.0], ids=["usual scores", "scores beyond 80"])
def test_bfloat16_attention_follows_the_definition(size: float) -> None:
    lengths = [1, 4, 4, 4, 9, 9, 30]
    generator = torch.Generator().manual_seed(0)
    qkv_T3H = torch.randn(sum(lengths), 3 * HEADS * WIDTH, generator=generator).bfloat16()
    qkv_T3H[:, : HEADS * WIDTH] *= size
    beyond = float((qkv_T3H.float() ** 2).max()) if size > 1 else 0
    assert beyond == 0 or beyond > 80
    with torch.inference_mode():
        made_TH = attend_by_length(torch.tensor(lengths), HEADS)(qkv_T3H)
    assert torch.isfinite(made_TH).all()
    torch.testing.assert_close(made_TH.double(), attend_exactly(qkv_T3H, lengths), rtol=0, atol=0.03)


def test_rows_that_fill_up_a_batch_are_zero() -> None:
    qkv_T3H = torch.full((8, 3 * HEADS * WIDTH), math.nan, dtype=torch.bfloat16)
    qkv_T3H[:5] = 0.25
    with torch.inference_mode():
        made_TH = attend_by_length(torch.tensor([2, 3]), HEADS)(qkv_T3H)
    assert made_TH[:5].eq(0.25).all()
    assert made_TH[5:].eq(0).all()


def test_row_counts_are_few_and_waste_little() -> None:
    rounded = [round_rows(n) for n in range(1, 5000)]
    assert all(n <= r <= max(n + 7, n * 33 / 32 + 1) for n, r in enumerate(rounded, 1))
    assert len(set(rounded)) < 250


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_product_plus_the_rest_is_their_sum(dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(1)
    x_TK, weight_NK, bias_N, rest_TN = (
        torch.randn(*shape, generator=generator).to(dtype) for shape in ((5, 6), (4, 6), (4,), (5, 4))
    )
    expected = x_TK.double() @ weight_NK.double().T + bias_N.double() + rest_TN.double()
    with torch.inference_mode():
        made = FixedLinear(weight_NK, bias_N).plus(x_TK, rest_TN.clone())
    torch.testing.assert_close(made.double(), expected, rtol=0, atol=1e-5 if dtype == torch.float32 else 0.05)
