"""A pool of worker processes that returns results in order."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

import psutil

from core.errors import LlmtuiError
from core.hardware import cores

Item = TypeVar("Item")
Result = TypeVar("Result")


class WorkerDiedError(LlmtuiError):
    """A worker process was killed, as by the kernel when memory runs out."""


class WorkerPool:
    """A pool of `count` processes; a context manager that terminates them. They also end with this process.

    They start with the first call of `map_ordered`. With a count of 1 the work runs in this process.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self._pool: ProcessPoolExecutor | None = None

    def __enter__(self) -> WorkerPool:
        return self

    def __exit__(self, *_: object) -> None:
        if self._pool is not None:
            for process in list((self._pool._processes or {}).values()):
                process.terminate()
            self._pool.shutdown(wait=True, cancel_futures=True)

    def map_ordered(
        self, work: Callable[[Item], Result], items: Iterable[Item], interval: float
    ) -> Iterator[tuple[Item, Result] | None]:
        """Yield each of `items` with its `work(item)`, in order; up to two items per process are computed ahead.

        Yields None after each `interval` seconds without a result, so that the caller can report progress. work: a
        function of a module, or a partial of one. Items and results are pickled, so they should be small. Raises
        whatever `work` raises, WorkerDiedError.
        """
        if self.count == 1:
            yield from ((item, work(item)) for item in items)
            return
        if self._pool is None:
            # not fork: the parent has threads (Arrow's, torch's), and a child would inherit their locks held for ever
            context = multiprocessing.get_context("spawn")
            self._pool = ProcessPoolExecutor(self.count, context, initializer=_die_with_parent)
        ahead: deque[tuple[Item, Future[Result]]] = deque()

        def first() -> Iterator[tuple[Item, Result] | None]:
            while not wait([ahead[0][1]], timeout=interval).done:
                yield None
            item, future = ahead.popleft()
            yield item, future.result()

        try:
            for item in items:
                ahead.append((item, self._pool.submit(work, item)))
                if len(ahead) > 2 * self.count:
                    yield from first()
            while ahead:
                yield from first()
        except BrokenProcessPool:
            raise WorkerDiedError(
                "one of its processes was killed, as the system does when memory is short",
                kept="what was complete is kept",
                todo="free some memory, then resume",
            ) from None


def worker_count(bytes_per_worker: int) -> int:
    """How many worker processes to use: one per core, within a sixteenth of the machine's memory."""
    fit = int(psutil.virtual_memory().total) // 16 // bytes_per_worker
    return max(1, min(cores(), max(2, fit)))


def _die_with_parent() -> None:
    """End this worker with its parent: an executor's processes would wait for work for ever."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
