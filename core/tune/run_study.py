"""The process that runs a study: `python -P -m core.tune.run_study STUDY_DIR`."""

from __future__ import annotations

import signal
import sys
import time
from pathlib import Path
from types import FrameType

from core.errors import BusyError, DiskError
from core.storage.files import sweep
from core.storage.locks import Lock
from core.storage.workspace import Workspace
from core.tune.controller import Controller
from core.tune.study import Study

POLL_SECONDS = 1.0
"""Seconds between two ticks of the controller."""


def run_controller(study: Study, workspace: Workspace) -> int:
    """Run the study to its end, or until a stop is requested; returns the exit code."""
    lock = Lock.acquire(study.path / "controller.lock")
    if lock is None:
        return BusyError.exit_code
    with lock:
        sweep(study.path)
        reported: str | None = None
        (study.control / "stop").unlink(missing_ok=True)
        controller = Controller(study, workspace)
        while True:
            try:
                ended, problem = controller.tick(), controller.problem
            except DiskError as error:  # nothing is lost: it tries again until there is space
                ended, problem = False, error.sentence()
            if problem != reported:
                study.report_problem(problem)
                reported = problem
            if ended:
                return 1 if controller.message else 0
            if not lock.stands():
                return 1
            time.sleep(POLL_SECONDS)


def main() -> int:
    study = Study.open(Path(sys.argv[1]))

    def stop(signum: int, frame: FrameType | None) -> None:
        sys.exit(0)  # trials continue; the next controller continues the study

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    return run_controller(study, Workspace().prepare())


if __name__ == "__main__":
    sys.exit(main())
