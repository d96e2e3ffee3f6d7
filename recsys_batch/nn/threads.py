"""Runs independent pieces of CPU work side by side, one core each.

Torch's own parallelism splits every operator and waits for all cores after each; for thousands of small operators that
waiting costs more than it gains, above all where other processes share the cores. One thread a piece waits only at
the end.
"""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import torch


@contextmanager
def side_by_side(num_threads: int) -> Iterator[Callable[[Iterable[Callable[[], None]]], Callable[[], None]]]:
    """Give a `start(pieces)` that begins pieces of work and returns a `finish()` that waits and raises the first error.

    With `num_threads` of 1 pieces run at once in the caller's thread, with torch's threads as they are. Otherwise
    torch uses one thread an operator until the context ends, in the whole process, and then as many as before.
    """
    if num_threads == 1:
        yield _run_now
        return
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with ThreadPoolExecutor(num_threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:

            def start(pieces: Iterable[Callable[[], None]]) -> Callable[[], None]:
                futures = [pool.submit(piece) for piece in pieces]

                def finish() -> None:
                    try:
                        for future in futures:
                            future.result()
                    finally:
                        for future in futures:
                            future.cancel()

                return finish

            yield start
    finally:
        torch.set_num_threads(before)


def _run_now(pieces: Iterable[Callable[[], None]]) -> Callable[[], None]:
    for piece in pieces:
        piece()
    return lambda: None
