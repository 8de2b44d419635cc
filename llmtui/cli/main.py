"""The console script: makes sure that the packages are ours, runs a command, turns its end into an exit code."""

from __future__ import annotations

import io
import os
import sys
import time
import traceback
from collections.abc import Sequence
from pathlib import Path

from llmtui.cli.import_guard import ForeignPackageError, ensure_ours

INTERRUPTED = 130
LOG_LIMIT = 2**20
"""Bytes of the log of unexpected errors beyond which it starts anew."""


def main() -> None:
    """Entry point of the `llmtui` script."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        stream = getattr(sys, name)
        if stream is None:  # closed by whoever started us, as by `>&-`
            setattr(sys, name, Path(os.devnull).open(mode, encoding="utf-8"))  # noqa: SIM115 until the end
        elif isinstance(stream, io.TextIOWrapper) and mode == "w":
            stream.reconfigure(errors="backslashreplace")  # for a terminal that is not UTF-8
    try:
        ensure_ours()
        code = run(sys.argv[1:])
    except ForeignPackageError as error:
        sys.stderr.write(f"llmtui: {ascii(str(error))[1:-1]}\n")
        code = 1
    except KeyboardInterrupt:  # before or after the command itself, which turns it into click.Abort
        code = INTERRUPTED
    sys.exit(code)


def run(arguments: Sequence[str]) -> int:
    """Run the command line `arguments`; its exit code. What goes wrong is told in sentences on standard error."""
    import click  # here and below: only once `core` is known to be ours

    from core.errors import DiskError, LlmtuiError
    from llmtui.cli.commands import command_line
    from llmtui.cli.console import complain, say

    if any("\ud800" <= character <= "\udfff" for argument in arguments for character in argument):
        say("llmtui: an argument is not UTF-8 text; rename the file, or give the folder it is in")
        return 2
    try:
        code = command_line.main(list(arguments), prog_name="llmtui", standalone_mode=False)
    except LlmtuiError as trouble:
        complain(trouble.sentence())
        return trouble.exit_code
    except click.Abort:
        return INTERRUPTED
    except click.ClickException as error:
        if isinstance(error, click.exceptions.NoArgsIsHelpError):  # a group by itself: its message is its help
            say(error.format_message())
            return error.exit_code
        usage = error.ctx.get_usage() + "\n" if isinstance(error, click.UsageError) and error.ctx else ""
        say(f"{usage}llmtui: {error.format_message()}")
        return error.exit_code
    except OSError as error:
        disk = DiskError.from_oserror(error, error.filename or "")
        complain(LlmtuiError(disk.what, where=disk.where, todo=disk.todo).sentence())
        return 1
    except Exception as error:
        say(f"llmtui: this should not have happened: {type(error).__name__}: {error}\n        {_logged()}")
        return 1
    return code if isinstance(code, int) else 0


def _logged() -> str:
    """Append the traceback of the exception at hand to the log; where it went, in words."""
    from core.storage.files import private
    from core.storage.workspace import Workspace

    log: Path = Workspace().state / "llmtui.log"
    try:
        log.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        fresh = not log.exists() or log.stat().st_size > LOG_LIMIT
        with open(log, "w" if fresh else "a", encoding="utf-8", errors="backslashreplace", opener=private) as file:
            file.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {' '.join(sys.argv)}\n{traceback.format_exc()}\n")
    except OSError as error:
        return f"its log could not be written ({error})"
    return f"the details are in {log}"
