"""Why a run has failed or was interrupted, in words, for lists, screens and exit messages."""

from __future__ import annotations

import os
import re
from pathlib import Path

from msgspec import Struct

from core.runs.directory import Run, RunState

MAX_REASON_CHARACTERS = 300
"""Maximum length of a reason from the log."""

_REASON = re.compile(
    r"(process \d+: )?cannot .+|Fatal Python error: .+|memory allocation of .+"
    r"|(?!\S*ChildFailedError)[A-Za-z_][\w.]*(Error|Exception|Exit|Interrupt)(: .*)?"
)
"""A line of the log that gives a reason: an LlmtuiError, the last line of a traceback, or a fatal error."""


class Failure(Struct, frozen=True, kw_only=True):
    """The parts of an error message, as in LlmtuiError; not sanitised."""

    what: str
    where: str = ""
    kept: str = ""
    todo: str = ""


def resume_advice(run: Run) -> str:
    """The `todo` of a failure after which the run can be resumed."""
    return f"to continue: llmtui resume {run.id}"


def failure(run: Run, state: RunState | None = None) -> Failure | None:
    """Why `run` has failed or was interrupted; None for one in any other state. state: its own, where known."""
    return describe_failure(run) if (state or run.state()) in (RunState.FAILED, RunState.INTERRUPTED) else None


def describe_failure(run: Run) -> Failure:
    """Why the newest attempt ended: by its last event, else by the supervisor's record."""
    ended, exited = run.end_event(), run.exit_record()

    if ended and ended.outcome == "failed":
        return Failure(what=ended.what, where=ended.where, kept=ended.kept, todo=ended.todo)
    saved = run.summary().saved
    kept = f"the checkpoint of step {saved.step:,} is kept" if saved else ""
    if exited and exited.out_of_memory:
        todo = "take a smaller batch: --set train.batch_size=…"
        return Failure(what="the system ended it: out of memory", where=str(run.log), kept=kept, todo=todo)
    if exited:
        how = f"signal {-exited.code}" if exited.code < 0 else f"code {exited.code}"
        what = f"its worker ended with {how}" + (f": {exited.reason}" if exited.reason else "")
        return Failure(what=what, where=str(run.log), kept=kept, todo=resume_advice(run))
    return Failure(what="its processes are gone", kept=kept, todo=resume_advice(run))


def failed_on_disk(run: Run) -> bool:
    """Whether the newest attempt failed because of the disk, which a later one need not."""
    ended = run.end_event()
    return ended is not None and ended.cause == "disk"


def is_reason(line: str) -> bool:
    """Whether a line of a log says why a process failed."""
    return _REASON.fullmatch(line) is not None


def find_reason(log: Path, start: int, *, killed: bool = False) -> str:
    """The reason for the end of a process in its log from byte `start` on; empty if there is none.

    killed: whether it was killed by a signal; then the last line is a reason only if it looks like one.
    """
    try:
        with log.open("rb") as file:
            end = file.seek(0, os.SEEK_END)
            file.seek(max(start if start <= end else 0, end - 2**16))
            lines = [line.rstrip() for line in file.read().decode(errors="replace").splitlines() if line.strip()]
    except OSError:
        return ""
    reasons = [line for line in lines if is_reason(line)]
    return (reasons or ([] if killed else lines) or [""])[-1][:MAX_REASON_CHARACTERS]
