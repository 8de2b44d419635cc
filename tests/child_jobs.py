"""A child job for tests: `python -m tests.child_jobs TASK`."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator

from core.errors import BusyError
from core.events import Event, Note
from core.processes.child_job import Failed, run_and_report


def work(task: str) -> Iterator[Event | Failed]:
    print("a library that chatters")
    yield Note(text="begun")
    if task == "busy":
        raise BusyError("it is taken", where="here", kept="all of it", todo="wait")
    if task == "unexpected":
        raise ZeroDivisionError("by zero")
    if task == "invalid":
        yield Failed(doing="x", what=5)  # type: ignore[arg-type]
    if task == "full":
        raise OSError(28, "No space left on device", "/somewhere")
    if task == "forever":
        while True:
            time.sleep(0.05)
            yield Note(text="still here")


if __name__ == "__main__":
    sys.exit(run_and_report(lambda: work(sys.argv[1])))
