"""Having heavy work done by a child process, and hearing what it says: see `core.processes.child_job`."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from core.errors import LlmtuiError
from core.parsing import ParseError, parse
from core.processes.child_job import Failed
from core.runs.launch import environment, python
from core.storage.files import private
from core.storage.workspace import Workspace

LOG_LIMIT = 2**20
"""Bytes of what the children print, beyond which the log starts anew."""


def appended(log: Path) -> BinaryIO:
    """`log`, open for a child to print into. Raises OSError."""
    log.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    fresh = not log.exists() or log.stat().st_size > LOG_LIMIT
    return open(log, "wb" if fresh else "ab", opener=private)


def errand(workspace: Workspace, module: str, *arguments: str, says: Any) -> Iterator[Any]:
    """Run `python -m module arguments` and yield what it says, decoded as `says`, a union of structs.

    Leaving the loop ends the child. Raises the LlmtuiError it ends with.
    """
    decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder(says | Failed)
    log = workspace.state / "errands.log"
    with appended(log) as stderr:
        child = subprocess.Popen(
            python(module, *arguments),
            env=environment(workspace),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
        )
    assert child.stdout is not None and child.stdin is not None
    try:
        for line in child.stdout:
            try:
                said = parse(decoder.decode, line)
            except ParseError as error:
                raise LlmtuiError(f"its process said what is no answer: {error}", where=str(log)) from None
            if isinstance(said, Failed):
                raise _trouble(said)
            yield said
        code = child.wait()
        if code:
            raise LlmtuiError(f"its process ended with code {code}", where=str(log), todo="the log has the details")
    finally:
        with suppress(OSError):
            child.stdin.close()  # which ends it
        child.stdout.close()
        if child.poll() is None:
            child.terminate()
        child.wait()


def _trouble(failed: Failed) -> LlmtuiError:
    """The same trouble on this side."""

    class ChildJobError(LlmtuiError):
        exit_code = failed.exit_code
        doing = failed.doing

    return ChildJobError(failed.what, where=failed.where, kept=failed.kept, todo=failed.todo)
