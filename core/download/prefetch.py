"""Work that waits for others, or takes long steps, done ahead in a thread: whoever drives it never waits long."""

from __future__ import annotations

import atexit
import contextlib
import queue
import threading
from collections.abc import Callable, Generator
from typing import TypeVar

from core.download import progress

T = TypeVar("T")

_GRACE = 5.0
"""Seconds which the thread has to end after it was told to."""


def in_thread(
    items: Generator[T, None, None], stop: Callable[[], object] = lambda: None, ahead: int = 2
) -> Generator[T | None, None, None]:
    """`items`, made in a thread, at most `ahead` of them before they are asked for; None when there is none yet.

    stop: called when the generator ends, from the driving thread: has to wake the other one, if it can wait for long.
    Raises what making the items raises.
    """
    made: queue.Queue[tuple[bool, T | BaseException | None]] = queue.Queue(ahead)
    stopped = threading.Event()

    def hand(last: bool, item: T | BaseException | None) -> None:
        while not stopped.is_set():
            try:
                made.put((last, item), timeout=0.1)
                return
            except queue.Full:
                continue

    def work() -> None:
        try:
            with contextlib.closing(items):
                for item in items:
                    hand(False, item)
                    if stopped.is_set():
                        break
            hand(True, None)
        except BaseException as error:
            hand(True, error)

    # a daemon: it must not keep the process alive when it cannot be woken, such as while a name is looked up
    thread = threading.Thread(target=work, name="ahead", daemon=True)
    thread.start()

    def end() -> None:
        stopped.set()
        stop()
        thread.join(_GRACE)

    # a thread that comes back from Arrow while Python is taken down aborts the process
    atexit.register(end)
    try:
        while True:
            try:
                last, item = made.get(timeout=progress.EVERY or 0.01)
            except queue.Empty:
                yield None
                continue
            if last:
                if isinstance(item, BaseException):
                    raise item
                return
            yield item  # type: ignore[misc]
    finally:
        atexit.unregister(end)
        end()
