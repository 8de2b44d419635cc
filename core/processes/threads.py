"""Blocking work in a thread, seen from outside as a generator that never blocks for long.

The driver of a stage can pause or stop it between two items, so a stage must not wait for a network, a disk or a long
computation by itself.
"""

from __future__ import annotations

import atexit
import contextlib
import queue
import threading
import time
from collections.abc import Callable, Generator
from typing import TypeVar

from core.events import Event
from core.processes import progress
from core.processes.progress import ProgressMeter

T = TypeVar("T")

JOIN_SECONDS = 5.0
"""How long a closed generator waits for its thread."""


def iterate_in_thread(
    items: Generator[T, None, None],
    wake: Callable[[], object] = lambda: None,
    prefetch: int = 2,
    join_seconds: float | None = JOIN_SECONDS,
) -> Generator[T | None, None, None]:
    """Run the generator `items` in a thread and yield its items; None after each `PROGRESS_INTERVAL` without one.

    wake: called from the driving thread when this generator ends; has to interrupt whatever `items` may block on.
    prefetch: how many items are produced before they are requested. join_seconds: how long the end of this generator
    waits for the thread; None: until it ends. Raises what `items` raises.
    """
    produced: queue.Queue[tuple[bool, T | BaseException | None]] = queue.Queue(prefetch)
    stopped = threading.Event()

    def put(last: bool, item: T | BaseException | None) -> None:
        while not stopped.is_set():
            with contextlib.suppress(queue.Full):
                produced.put((last, item), timeout=0.1)
                return

    def run() -> None:
        try:
            with contextlib.closing(items):
                for item in items:
                    put(False, item)
                    if stopped.is_set():
                        break
            put(True, None)
        except BaseException as error:
            put(True, error)

    # a daemon, not an executor's thread: it must not keep the process alive where it cannot be interrupted, such as
    # in a DNS lookup
    thread = threading.Thread(target=run, name="iterate_in_thread", daemon=True)
    thread.start()

    def stop() -> None:
        stopped.set()
        wake()
        thread.join(join_seconds)

    # a thread that returns from Arrow while the interpreter shuts down aborts the process
    atexit.register(stop)
    try:
        while True:
            try:
                last, item = produced.get(timeout=progress.PROGRESS_INTERVAL or 0.01)
            except queue.Empty:
                yield None
                continue
            if last:
                if isinstance(item, BaseException):
                    raise item
                return
            yield item  # type: ignore[misc]
    finally:
        atexit.unregister(stop)
        stop()


def run_in_thread(
    work: Callable[[], T],
    meter: ProgressMeter,
    timeout: float | None = None,
    on_wait: Callable[[], object] = lambda: None,
    join: bool = False,
) -> Generator[Event, None, T]:
    """Run `work` in a thread and return its result, yielding the Progress of `meter` meanwhile.

    timeout: seconds after which TimeoutError is raised. on_wait: called before each Progress. join: whether the work
    is waited for when the generator is closed; otherwise it is abandoned and does not keep the process alive.
    Raises what `work` raises.
    """
    results: list[T] = []

    def once() -> Generator[bool, None, None]:
        results.append(work())
        yield True

    deadline = time.monotonic() + timeout if timeout is not None else None
    with contextlib.closing(iterate_in_thread(once(), join_seconds=None if join else 0)) as items:
        for finished in items:
            if finished:
                break
            on_wait()
            yield meter.report()
            if deadline is not None and time.monotonic() > deadline:
                raise TimeoutError
    return results[0]
