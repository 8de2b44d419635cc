"""Work that yields nothing by itself, with words about progress while it lasts."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator
from concurrent.futures import Future, wait
from typing import TypeVar

from core.download.progress import EVERY, Meter
from core.events import Event

T = TypeVar("T")


def in_background(
    work: Callable[[], T],
    meter: Meter,
    limit: float | None = None,
    waiting: Callable[[], object] = lambda: None,
    whole: bool = False,
) -> Generator[Event, None, T]:
    """Run `work` in a thread and return what it returns or raise what it raises, yielding `meter` meanwhile.

    limit: seconds after which TimeoutError is raised. Work that is left behind, by that or because the generator
    is closed, does not keep the process alive; whole: it is waited for. waiting: called before each word.
    """
    future: Future[T] = Future()

    def run() -> None:
        try:
            future.set_result(work())
        except BaseException as error:
            future.set_exception(error)

    started = time.monotonic()
    # not a ThreadPoolExecutor: the interpreter waits for its threads before it exits
    threading.Thread(target=run, daemon=True).start()
    try:
        while not wait([future], EVERY).done:
            waiting()
            yield meter.now()
            if limit is not None and time.monotonic() - started > limit:
                raise TimeoutError
        return future.result()
    finally:
        if whole:
            wait([future])
