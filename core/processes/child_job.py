"""Short work in a process of its own, for a caller too light to do it: JSON lines on standard output.

The lines are events, or other structs that both sides know; the last one is `Failed` when something went wrong. The
process ends with whoever started it: its standard input is a pipe that closes then.
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
    """The `LlmtuiError` that ended it, in parts."""

    doing: str
    what: str
    where: str = ""
    kept: str = ""
    todo: str = ""
    exit_code: int = 1


def carry_out(work: Callable[[], Iterator[Struct]]) -> int:
    """Do `work` and write down what it yields; the exit code."""
    out = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what libraries print must not stand among the lines
    threading.Thread(target=_end_with_caller, daemon=True).start()
    try:
        for said in work():
            out.write(encode(said) + b"\n")
            out.flush()
        return 0
    except BrokenPipeError:
        return 1
    except KeyboardInterrupt:
        return 130
    except Exception as error:
        if not isinstance(error, LlmtuiError):
            log(traceback.format_exc())
        trouble = as_llmtui_error(error)
    failed = Failed(
        doing=trouble.doing,
        what=trouble.what,
        where=trouble.where,
        kept=trouble.kept,
        todo=trouble.todo,
        exit_code=trouble.exit_code,
    )
    out.write(encode(failed) + b"\n")
    out.flush()
    return trouble.exit_code


def _end_with_caller() -> None:
    while os.read(sys.stdin.fileno(), 4096):
        pass
    os._exit(1)
