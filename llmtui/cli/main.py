"""Entry point of the `llmtui` script: checks the imports, runs a command, turns errors into exit codes."""

from __future__ import annotations

import io
import os
import sys
import time
import traceback
from collections.abc import Sequence
from pathlib import Path

from llmtui.cli.import_guard import ForeignPackageError, ensure_own_core

INTERRUPTED = 130
LOG_LIMIT = 2**20
"""Bytes of the log of unexpected errors above which it is truncated."""


def main() -> None:
    """Entry point of the `llmtui` script."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        stream = getattr(sys, name)
        if stream is None:  # closed by the parent process, as by `>&-`
            setattr(sys, name, Path(os.devnull).open(mode, encoding="utf-8"))  # noqa: SIM115 open until exit
        elif isinstance(stream, io.TextIOWrapper) and mode == "w":
            stream.reconfigure(errors="backslashreplace")  # terminals that are not UTF-8
    try:
        ensure_own_core()
        code = run(sys.argv[1:])
    except ForeignPackageError as error:
        sys.stderr.write(f"llmtui: {ascii(str(error))[1:-1]}\n")
        code = 1
    except KeyboardInterrupt:  # outside of click, which raises click.Abort instead
        code = INTERRUPTED
    sys.exit(code)


def run(arguments: Sequence[str]) -> int:
    """Run the command line `arguments`; prints errors to standard error and returns the exit code."""
    import click  # these imports come after `ensure_own_core`

    from core.errors import DiskError, LlmtuiError
    from llmtui.cli.commands import command_line
    from llmtui.cli.console import print_error, print_message

    if any("\ud800" <= character <= "\udfff" for argument in arguments for character in argument):
        print_message("llmtui: an argument is not UTF-8 text; rename the file, or give the folder it is in")
        return 2
    try:
        code = command_line.main(list(arguments), prog_name="llmtui", standalone_mode=False)
    except LlmtuiError as error:
        print_error(error.sentence())
        return error.exit_code
    except click.Abort:
        return INTERRUPTED
    except click.ClickException as error:
        if isinstance(error, click.exceptions.NoArgsIsHelpError):  # a group without a command: the message is its help
            print_message(error.format_message())
            return error.exit_code
        usage = error.ctx.get_usage() + "\n" if isinstance(error, click.UsageError) and error.ctx else ""
        print_message(f"{usage}llmtui: {error.format_message()}")
        return error.exit_code
    except OSError as error:
        disk = DiskError.from_oserror(error, error.filename or "")
        found = LlmtuiError(disk.what, where=disk.where, todo=disk.todo)
        if not error.filename and not _has_current_directory():
            found = LlmtuiError("the current directory was deleted", todo="change to another one")
        print_error(found.sentence())
        return 1
    except Exception as error:
        print_message(f"llmtui: unexpected error: {type(error).__name__}: {error}\n        {_log_traceback()}")
        return 1
    return code if isinstance(code, int) else 0


def _has_current_directory() -> bool:
    try:
        return bool(Path.cwd())
    except FileNotFoundError:
        return False


def _log_traceback() -> str:
    """Append the current traceback to the log; returns a sentence that says where."""
    from core.storage.files import private
    from core.storage.workspace import Workspace

    log: Path = Workspace().state / "llmtui.log"
    try:
        log.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        truncate = not log.exists() or log.stat().st_size > LOG_LIMIT
        with open(log, "w" if truncate else "a", encoding="utf-8", errors="backslashreplace", opener=private) as file:
            file.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {' '.join(sys.argv)}\n{traceback.format_exc()}\n")
    except OSError as error:
        return f"its log could not be written ({error})"
    return f"the details are in {log}"
