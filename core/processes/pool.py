"""Work spread over the cores by processes of their own, its results in order."""

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
    """A process that took a share of the work was ended from outside."""


class Processes:
    """Some processes that wait for work; a context manager, which ends them. So does the death of this one.

    They start with the first work, and one of them is none: the work is then done in this process.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self._pool: ProcessPoolExecutor | None = None

    def __enter__(self) -> Processes:
        return self

    def __exit__(self, *_: object) -> None:
        if self._pool is not None:
            for process in list((self._pool._processes or {}).values()):
                process.terminate()
            self._pool.shutdown(wait=True, cancel_futures=True)

    def in_order(
        self, work: Callable[[Item], Result], items: Iterable[Item], every: float
    ) -> Iterator[tuple[Item, Result] | None]:
        """Each of `items` with its `work(item)`, in their order, computed ahead, at most two a process.

        A None after each `every` seconds that brought no result: time to tell how far it is. work: a function of a
        module, or a partial of one; items and results travel between processes, so they should be names and numbers
        rather than text. Raises what `work` raises, WorkerDiedError.
        """
        if self.count == 1:
            yield from ((item, work(item)) for item in items)
            return
        if self._pool is None:
            # not forked: the parent has threads (Arrow's, torch's), whose locks a child would find held for ever
            context = multiprocessing.get_context("spawn")
            self._pool = ProcessPoolExecutor(self.count, context, initializer=_die_with_parent)
        ahead: deque[tuple[Item, Future[Result]]] = deque()

        def first() -> Iterator[tuple[Item, Result] | None]:
            while not wait([ahead[0][1]], timeout=every).done:
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
                "one of its processes was ended, as the system does when memory is short",
                kept="what was complete is kept",
                todo="free some memory, then resume",
            ) from None


def processes_for(each: int) -> int:
    """How many processes to use that take `each` bytes of memory: the cores, within a sixteenth of the memory."""
    fit = int(psutil.virtual_memory().total) // 16 // each
    return max(1, min(cores(), max(2, fit)))


def _die_with_parent() -> None:
    """An executor's processes wait for work even after their parent was killed: end them with it."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
