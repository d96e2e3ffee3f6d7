"""Settings of the process that make CPU inference faster: memory that is kept, kernels that are remembered.

They concern the whole process, cannot change a result, and are made once; without glibc only the second holds.
"""

import ctypes
import functools
import os

_M_TRIM_THRESHOLD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -4, -8
_NEVER = 1 << 30


@functools.cache
def tune_process() -> None:
    """Keep freed memory in the process, and oneDNN's kernels for every batch shape that comes up in a night.

    Every layer allocates some megabytes and frees them. By default glibc hands such blocks back to the system and gets
    them again page by page, which costs about a twentieth of the time of a forward pass.
    """
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "4096")
    set_option = getattr(ctypes.CDLL(None), "mallopt", None)
    if set_option is None:
        return
    set_option(_M_MMAP_MAX, 0)
    set_option(_M_TRIM_THRESHOLD, _NEVER)
    set_option(_M_ARENA_MAX, 1)
