"""How many tokens one forward pass takes: what stays in cache on a CPU, what fills the device on a GPU."""

import platform

import torch

_CPU_BATCH_BYTES_A_COLUMN = 8192
_LARGEST_GPU_BATCH = 131072
# Hidden states, queries, keys, values and the wide layer of a transformer, as multiples of its width; attention in a
# padded grid holds copies of some.
_COLUMNS_A_TOKEN = 24
_SHARE_OF_FREE_MEMORY = 0.5


def choose_budget(configured: int, device: str, dtype: torch.dtype, width: int) -> int:
    """Return the most padded tokens in one forward pass; `configured` of 0 leaves it to the device.

    On the CPU a batch stays within the cache (2,048 tokens in float32, 4,096 in half precision) even where more is
    configured.
    """
    if device == "cpu":
        fits = _CPU_BATCH_BYTES_A_COLUMN // dtype.itemsize
        return min(configured, fits) if configured else fits
    if configured:
        return configured
    # What an earlier model of this process has freed still lies in torch's cache, and would not count as free.
    torch.cuda.empty_cache()
    free, total = torch.cuda.mem_get_info(device)
    # Other processes of the same share may not have taken theirs yet.
    share = torch.cuda.get_per_process_memory_fraction(device)
    return gpu_budget(min(free, int(share * total)), dtype.itemsize, width)


def gpu_budget(free_bytes: int, item_bytes: int, width: int) -> int:
    """Return the tokens that half of the free memory holds, at least 1,024 and at most 131,072."""
    fits = int(free_bytes * _SHARE_OF_FREE_MEMORY / (item_bytes * width * _COLUMNS_A_TOKEN))
    return min(_LARGEST_GPU_BATCH, max(1024, fits))


def name_device(device: str) -> str:
    """Return what hardware `device` is, so that what fits on one is not believed of another."""
    return torch.cuda.get_device_name(device) if device.startswith("cuda") else f"cpu {platform.machine()}"
