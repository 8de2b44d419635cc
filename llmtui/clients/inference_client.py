"""Asynchronous client of the inference process, `core.sample.serve`."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import signal
from collections.abc import AsyncGenerator, Sequence
from pathlib import Path

from msgspec import structs

from core.errors import LlmtuiError, UsageError
from core.parsing import parse
from core.runs.launch import child_environment, python_command
from core.sample.protocol import (
    MAX_LINE_BYTES,
    AnyReply,
    AnyTask,
    Cancel,
    Finished,
    Refused,
    decode_reply,
    encode,
)
from core.storage.workspace import Workspace
from llmtui.clients.child_job import open_log

LOG_NAME = "inference.log"
"""File in the workspace's state directory that gets the standard error of the inference process."""
MAX_PENDING_REPLIES = 2**16
"""Unread replies per request; a request whose consumer falls further behind is cancelled."""
_EXIT_TIMEOUT = 5.0
"""Seconds between the end of the process's output and its exit, after which it is killed."""


class InferenceError(LlmtuiError):
    """The inference process refused the request."""

    doing = "generate text"


class InvalidRequestError(InferenceError):
    """The request itself is invalid; do not retry."""


class InferenceProcessError(LlmtuiError):
    """The inference process could not be started, exited, or sent an invalid line."""

    doing = "generate text"


class SlowConsumerError(LlmtuiError):
    """The replies were not read fast enough."""

    doing = "generate text"


class PromptEncodingError(UsageError):
    """The request contains text that UTF-8 cannot encode."""

    doing = "generate text"


class InferenceClient:
    """Starts the inference process with the first request, and again after it has exited.

    Requests may run concurrently. Use it from one event loop only.
    """

    def __init__(self, workspace: Workspace, command: Sequence[str] | None = None) -> None:
        """command: a process that speaks `core.sample.protocol`; default: `python -m core.sample.serve`."""
        self._workspace = workspace
        self._command = list(command or python_command("core.sample.serve"))
        self._process: _InferenceProcess | None = None
        self._ids = itertools.count(1)
        self._starting = asyncio.Lock()

    async def stream(self, request: AnyTask) -> AsyncGenerator[AnyReply, None]:
        """Send `request`, with a new id, and yield its replies; the last one is a Finished.

        Closing the generator early cancels the request. A slow consumer does not delay other requests.

        Raises InferenceError, InferenceProcessError, SlowConsumerError, PromptEncodingError.
        """
        request = structs.replace(request, id=next(self._ids))
        try:
            line = encode(request)
        except UnicodeEncodeError:
            raise PromptEncodingError(
                "the text has a lone surrogate (half of a character)", todo="give text that UTF-8 can encode"
            ) from None
        process = await self._running_process()
        replies = process.queues[request.id] = asyncio.Queue[AnyReply | LlmtuiError]()
        finished = False
        try:
            process.send(line)
            while not finished:
                reply = await replies.get()
                finished = isinstance(reply, Finished | Refused | LlmtuiError)
                if isinstance(reply, LlmtuiError):
                    raise reply
                if isinstance(reply, Refused):
                    error = InvalidRequestError if reply.usage else InferenceError
                    raise error(reply.what, where=reply.where, todo=reply.todo)
                yield reply
        finally:
            process.queues.pop(request.id, None)
            if not finished:
                process.send(encode(Cancel(id=request.id)))

    async def start(self) -> None:
        """Start the process, whose imports take seconds, before there is a request.

        An error is not reported here, but by the first request, which tries again.
        """
        with contextlib.suppress(InferenceProcessError):
            await self._running_process()

    async def _running_process(self) -> _InferenceProcess:
        async with self._starting:
            if self._process is None or self._process.ended:
                self._process = await _InferenceProcess.start(self._command, self._workspace)
            return self._process

    async def close(self) -> None:
        """Kill the inference process. It also exits by itself when this process does, because its input closes."""
        async with self._starting:
            process, self._process = self._process, None
        if process is not None:
            await process.kill()


class _InferenceProcess:
    """One process, and a queue of replies for each request it is working on."""

    def __init__(self, process: asyncio.subprocess.Process, log: Path) -> None:
        self._process, self._log = process, log
        self.ended = False
        """Whether it accepts no more requests."""
        self.queues: dict[int, asyncio.Queue[AnyReply | LlmtuiError]] = {}
        """By request id; an LlmtuiError is the last item."""
        self._reader = asyncio.create_task(self._read_replies())

    @classmethod
    async def start(cls, command: Sequence[str], workspace: Workspace) -> _InferenceProcess:
        """Raises InferenceProcessError if the process cannot be started."""
        log = workspace.state / LOG_NAME
        try:
            with open_log(log) as stderr:
                process = await asyncio.create_subprocess_exec(
                    *command,
                    stdin=asyncio.subprocess.PIPE,
                    stdout=asyncio.subprocess.PIPE,
                    stderr=stderr,
                    env=child_environment(workspace),
                    limit=MAX_LINE_BYTES,
                    process_group=0,  # Ctrl+C in the terminal must reach this process only
                )
        except OSError as error:
            raise InferenceProcessError(
                f"the inference process cannot be started ({error.strerror})", where=str(error.filename or "")
            ) from None
        return cls(process, log)

    def send(self, line: bytes) -> None:
        """Write without waiting: what the process has not read yet is buffered in memory."""
        assert self._process.stdin is not None
        with contextlib.suppress(OSError, RuntimeError):
            self._process.stdin.write(line + b"\n")

    async def _read_replies(self) -> None:
        """Put each reply into its request's queue until the process exits or sends an invalid line."""
        assert self._process.stdout is not None
        reason = ""
        try:
            while line := await self._process.stdout.readline():
                self._dispatch(parse(decode_reply, line))
        except (OSError, ValueError):
            reason = "the inference process sent an invalid reply"
            self._send_kill()
        finally:
            self.ended = True
        reason = reason or await self._wait_for_exit()
        for replies in self.queues.values():
            replies.put_nowait(
                InferenceProcessError(reason, where=str(self._log), todo="try again; it will be restarted")
            )

    def _dispatch(self, reply: AnyReply) -> None:
        replies = self.queues.get(reply.id)
        if replies is None:
            return  # the request was cancelled
        if replies.qsize() < MAX_PENDING_REPLIES:
            replies.put_nowait(reply)
            return
        del self.queues[reply.id]
        replies.put_nowait(
            SlowConsumerError(
                f"{MAX_PENDING_REPLIES:,} replies were not read in time, and the request was cancelled",
                todo="request less at once",
            )
        )
        self.send(encode(Cancel(id=reply.id)))

    async def _wait_for_exit(self) -> str:
        """How the process exited after closing its output, as a sentence; it is killed if it does not exit in time."""
        try:
            return _describe_exit(await asyncio.wait_for(self._process.wait(), _EXIT_TIMEOUT))
        except TimeoutError:
            self._send_kill()
            return "the inference process closed its output"

    def _send_kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()

    async def kill(self) -> None:
        """Kill the process and wait until it and its pipes are gone."""
        self.ended = True
        if self._process.returncode is None:
            self._send_kill()
        await self._reader
        await self._process.wait()
        assert self._process.stdin is not None
        self._process.stdin.close()
        with contextlib.suppress(OSError):
            await self._process.stdin.wait_closed()


def _describe_exit(code: int) -> str:
    if code >= 0:
        return f"the inference process exited with code {code}"
    name = next((known.name for known in signal.Signals if known == -code), f"signal {-code}")
    hint = ", as the system does when memory runs out" if -code == signal.SIGKILL else ""
    return f"the inference process was killed by {name}{hint}"
