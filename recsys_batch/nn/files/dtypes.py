"""Names of number formats, and which one suits this machine."""

from typing import Literal

import torch

ConcreteDtype = Literal["float32", "bfloat16", "float16"]

DTYPES: dict[str, torch.dtype] = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def resolve_dtype(name: str) -> ConcreteDtype:
    """Return `name`, or for `auto` the fastest format that keeps vectors within a cosine of 0.999 of float32's.

    That is bfloat16 where the CPU multiplies it (avx512_bf16 or amx), else float32. The GPU is not asked: it belongs to
    the workers, and this runs where the settings are made.
    """
    if name != "auto":
        return name  # type: ignore[return-value]
    return "bfloat16" if _cpu_has_bfloat16() else "float32"


def _cpu_has_bfloat16() -> bool:
    # Public names for this do not exist; without them the careful answer is no.
    tests = (getattr(torch.cpu, name, None) for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"))
    return any(test is not None and test() for test in tests)
