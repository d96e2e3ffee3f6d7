"""What an error of a forward pass means: too large a batch, a broken device, or a text that cannot be encoded."""

import traceback

import torch

_MEMORY_SIGNS = ("out of memory", "can't allocate memory", "failed to allocate", "cublas_status_alloc_failed")
_DEVICE_SIGNS = (
    "cuda error",
    "cuda driver error",
    "cublas error",
    "cudnn error",
    "device-side assert",
    "cublas_status_",
    "hip error",
)


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether a smaller batch may succeed."""
    message = str(error).lower()
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or any(sign in message for sign in _MEMORY_SIGNS)


def is_device_failure(error: BaseException) -> bool:
    """Tell whether the accelerator is unusable for the rest of this process's life: after such an error every later
    call fails too, whatever it is given.
    """
    if is_out_of_memory(error) or not isinstance(error, RuntimeError):
        return False
    return isinstance(error, torch.AcceleratorError) or any(sign in str(error).lower() for sign in _DEVICE_SIGNS)


def is_isolatable(error: BaseException) -> bool:
    """Tell whether halving the batch can find the text at fault; a fast tokenizer's panic is not an `Exception`."""
    panicked = type(error).__name__ == "PanicException"
    return panicked or (isinstance(error, Exception) and not is_device_failure(error))


def let_go(error: BaseException) -> None:
    """Free what the functions that `error` passed through still hold.

    A traceback keeps their local variables, and so the tensors of a failed forward pass: on an accelerator the very
    memory that the next try needs.
    """
    seen: BaseException | None = error
    while seen is not None:
        traceback.clear_frames(seen.__traceback__)
        seen = seen.__cause__ or seen.__context__


def describe(error: BaseException) -> str:
    """Return the error as one short line, without the text that caused it."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:160]}" if lines else type(error).__name__
