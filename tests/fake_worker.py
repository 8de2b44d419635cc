"""A fake worker: takes the lock of a run and writes given journal lines, without training.

`python -m tests.fake_worker RUN_DIR JOURNAL [--stubborn]` writes the lines of JOURNAL, then waits to be stopped through
the control directory. --stubborn: ignores the request and SIGTERM.
"""

from __future__ import annotations

import signal
import sys
import time
from pathlib import Path

from core.events import AttemptEnded, encode
from core.runs.control import ControlRequests
from core.runs.directory import Run
from core.storage.journal import JournalWriter
from core.storage.locks import Lock


def main() -> None:
    run, lines, stubborn = Run.open(Path(sys.argv[1])), Path(sys.argv[2]), "--stubborn" in sys.argv
    lock = Lock.acquire(run.path / "writer.lock")
    assert lock is not None
    if stubborn:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    requests, journal = ControlRequests(run), JournalWriter(run.journal)
    for line in lines.read_bytes().splitlines():
        journal.append(line)
    while True:
        if requests.take_stop() and not stubborn:
            journal.append(encode(AttemptEnded(attempt=1, outcome="stopped", exit_code=3)))
            return
        if (run.path / "finish").exists():
            journal.append(encode(AttemptEnded(attempt=1, outcome="done")))
            return
        time.sleep(0.01)


if __name__ == "__main__":
    main()
