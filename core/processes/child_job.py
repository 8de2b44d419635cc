"""The child's side of a job that runs in its own process: JSON lines on standard output.

The lines are events, or other structs that both sides know; the last one is `Failed` if the job failed. The child
ends with its parent: its standard input is a pipe that closes then.
"""

from __future__ import annotations

import os
import sys
import threading
import traceback
from collections.abc import Callable, Iterator

from msgspec import Struct

from core.errors import LlmtuiError, as_llmtui_error, log
from core.events import encode


class Failed(Struct, frozen=True, kw_only=True, tag=True):
    """The `LlmtuiError` that ended the job, field by field."""

    doing: str
    what: str
    where: str = ""
    kept: str = ""
    todo: str = ""
    exit_code: int = 1


def failed(error: LlmtuiError) -> Failed:
    """The message that reports `error`."""
    return Failed(
        doing=error.doing,
        what=error.what,
        where=error.where,
        kept=error.kept,
        todo=error.todo,
        exit_code=error.exit_code,
    )


def run_and_report(job: Callable[[], Iterator[Struct]]) -> int:
    """Run `job` and write each struct it yields as a JSON line. Returns the exit code."""
    out = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # output of libraries must not mix with the lines
    threading.Thread(target=exit_with_parent, daemon=True).start()
    try:
        for message in job():
            out.write(encode(message) + b"\n")
            out.flush()
        return 0
    except BrokenPipeError:
        return 1
    except KeyboardInterrupt:
        return 130
    except Exception as caught:
        if not isinstance(caught, LlmtuiError):
            log(traceback.format_exc())
        error = as_llmtui_error(caught)
    out.write(encode(failed(error)) + b"\n")
    out.flush()
    return error.exit_code


def exit_with_parent() -> None:
    """Exit when standard input is closed; for a thread."""
    while os.read(sys.stdin.fileno(), 4096):
        pass
    os._exit(1)
