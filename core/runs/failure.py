"""Why a run is not done although nobody works on it: one answer for every list, screen and exit message."""

from __future__ import annotations

import os
import re
from pathlib import Path

from msgspec import Struct

from core.runs.directory import Run, RunState

MAX_REASON_CHARACTERS = 300
"""Characters of the log that are taken for a reason."""

_REASON = re.compile(
    r"(process \d+: )?cannot .+|Fatal Python error: .+|memory allocation of .+"
    r"|(?!\S*ChildFailedError)[A-Za-z_][\w.]*(Error|Exception|Exit|Interrupt)(: .*)?"
)
"""A line in which something that broke says why: an LlmtuiError, a traceback's last line, a fatal error's first."""


class Failure(Struct, frozen=True, kw_only=True):
    """In parts that read like those of an LlmtuiError; none is sanitised."""

    what: str
    where: str = ""
    kept: str = ""
    todo: str = ""


def failure(run: Run, state: RunState | None = None) -> Failure | None:
    """Why `run` has failed or was interrupted; None for one in any other state. state: its own, where known."""
    return describe_failure(run) if (state or run.state()) in (RunState.FAILED, RunState.INTERRUPTED) else None


def describe_failure(run: Run) -> Failure:
    """Why the newest attempt is over: by its own last word, else by what is known of its death."""
    ended, crash = run.end_event(), run.exit_record()
    again = f"go on: llmtui resume {run.id}"
    if ended and ended.outcome == "failed":
        return Failure(what=ended.what, where=ended.where, kept=ended.kept, todo=ended.todo)
    saved = run.summary().saved
    kept = f"the checkpoint of step {saved.step:,} is kept" if saved else ""
    if crash and crash.out_of_memory:
        todo = "take a smaller batch: --set train.batch_size=…"
        return Failure(what="the system ended it: out of memory", where=str(run.log), kept=kept, todo=todo)
    if crash:
        how = f"signal {-crash.code}" if crash.code < 0 else f"code {crash.code}"
        what = f"its worker ended with {how}" + (f": {crash.reason}" if crash.reason else "")
        return Failure(what=what, where=str(run.log), kept=kept, todo=again)
    return Failure(what="its processes are gone", kept=kept, todo=again)


def find_reason(log: Path, start: int, *, killed: bool = False) -> str:
    """What the bytes of a log from `start` on give as the reason of an end; empty where they say nothing.

    killed: by a signal, so that a last line which looks like no reason is none.
    """
    try:
        with log.open("rb") as file:
            end = file.seek(0, os.SEEK_END)
            file.seek(max(start if start <= end else 0, end - 2**16))
            lines = [line.rstrip() for line in file.read().decode(errors="replace").splitlines() if line.strip()]
    except OSError:
        return ""
    telling = [line for line in lines if _REASON.fullmatch(line)]
    return (telling or ([] if killed else lines) or [""])[-1][:MAX_REASON_CHARACTERS]
