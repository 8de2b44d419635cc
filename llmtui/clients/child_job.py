"""Run a job in a child process and read its results: the parent's side of `core.processes.child_job`."""

from __future__ import annotations

import asyncio
import errno
import os
import subprocess
from collections.abc import AsyncGenerator, Generator
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from core.errors import LlmtuiError
from core.parsing import ParseError, parse
from core.processes.child_job import Failed
from core.runs.launch import child_environment, python_command
from core.storage.files import private
from core.storage.workspace import Workspace

LOG_NAME = "child-jobs.log"
"""File in the workspace's state directory that gets the standard error of child jobs."""
LOG_LIMIT = 2**20
"""Bytes of a log beyond which it is started anew."""


LINE_LIMIT = 2**24
"""Bytes of one result at most, where an event loop reads them."""


def open_log(log: Path) -> BinaryIO:
    """Open `log` for a child process to append to; the null device if it is read-only. Raises OSError."""
    try:
        log.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        truncate = not log.exists() or log.stat().st_size > LOG_LIMIT
        return open(log, "wb" if truncate else "ab", opener=private)
    except OSError as error:
        if error.errno not in (errno.EROFS, errno.EACCES):
            raise
        return Path(os.devnull).open("wb")


def run_child_job(workspace: Workspace, module: str, *arguments: str, result_type: Any) -> Generator[Any, None, None]:
    """Run `python -m module arguments` and yield its results, decoded as `result_type`, a union of structs.

    Closing the generator ends the child. Raises the LlmtuiError that the child ended with, or one of its own if the
    child printed an invalid line or exited with an error code.
    """
    decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder(result_type | Failed)
    log = workspace.state / LOG_NAME
    with open_log(log) as stderr:
        child = subprocess.Popen(
            python_command(module, *arguments),
            env=child_environment(workspace),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
        )
    assert child.stdout is not None and child.stdin is not None
    try:
        for line in child.stdout:
            yield _decoded(decoder, line, log)
        _check_exit(child.wait(), log)
    finally:
        with suppress(OSError):
            child.stdin.close()  # the child exits when its standard input closes
        child.stdout.close()
        if child.poll() is None:
            child.terminate()
        child.wait()


async def stream_child_job(
    workspace: Workspace, module: str, *arguments: str, result_type: Any
) -> AsyncGenerator[Any, None]:
    """`run_child_job` for an event loop: cancelling the task that reads it, or closing it, ends the child."""
    decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder(result_type | Failed)
    log = workspace.state / LOG_NAME
    with await asyncio.to_thread(open_log, log) as stderr:
        child = await asyncio.create_subprocess_exec(
            *python_command(module, *arguments),
            env=child_environment(workspace),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=stderr,
            limit=LINE_LIMIT,
        )
    assert child.stdout is not None and child.stdin is not None
    try:
        async for line in child.stdout:
            yield _decoded(decoder, line, log)
        _check_exit(await child.wait(), log)
    finally:
        child.stdin.close()
        if child.returncode is None:
            with suppress(ProcessLookupError):
                child.terminate()
        await child.wait()


def _decoded(decoder: msgspec.json.Decoder[Any], line: bytes, log: Path) -> Any:
    """The result in a line of a child's output. Raises LlmtuiError: that of the child, or because it is invalid."""
    try:
        result = parse(decoder.decode, line)
    except ParseError as error:
        raise LlmtuiError(f"the child process printed an invalid line: {error}", where=str(log)) from None
    if isinstance(result, Failed):
        raise error_of(result)
    return result


def _check_exit(code: int, log: Path) -> None:
    if code:
        raise LlmtuiError(f"the child process exited with code {code}", where=str(log), todo="see the log for details")


def error_of(failed: Failed) -> LlmtuiError:
    """The exception of the child process, with its exit code."""

    class ChildJobError(LlmtuiError):
        exit_code = failed.exit_code
        doing = failed.doing

    return ChildJobError(failed.what, where=failed.where, kept=failed.kept, todo=failed.todo)
