"""Asynchronous client of the inference process, `core.sample.serve`."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import signal
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
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
    ReadBatch,
    Refused,
    TokenizeText,
    decode_reply,
    encode,
)
from core.storage.workspace import Workspace
from llmtui.clients.child_job import open_log
from llmtui.clients.remote_inference import MAX_REPLY_BYTES, RemoteInferenceError, RemoteProcess, location
from llmtui.clients.reply_checks import is_consistent

LOG_NAME = "inference.log"
"""File in the workspace's state directory that gets the standard error of the inference process."""
MAX_PENDING_REPLIES = 2**16
"""Unread replies per request; a request whose consumer falls further behind is cancelled."""
_LAST_ERRORS_TIMEOUT = 1.0
"""Seconds after the end of the output in which a process on a host may still say why."""
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
        """command: a process with the protocol of `core.sample.protocol`; default: `python -m core.sample.serve`."""
        self._workspace = workspace
        self._command = list(command or python_command("core.sample.serve"))
        self._processes: dict[str, _InferenceProcess] = {}
        """By the host of mirrored runs on which it runs; that of this machine is under an empty name."""
        self._ids = itertools.count(1)
        self._starting = asyncio.Lock()

    async def stream(self, request: AnyTask) -> AsyncGenerator[AnyReply, None]:
        """Send `request`, with a new id, and yield its replies; the last one is a Finished.

        A request about a checkpoint on the host of a mirrored run is answered there, and sent once more if a
        connection from before turns out to be lost. Closing the generator early cancels the request. A slow consumer
        does not delay other requests.

        Raises InferenceError, InferenceProcessError, SlowConsumerError, PromptEncodingError; RemoteInferenceError,
        HostNameError for a checkpoint on a host.
        """
        request = structs.replace(request, id=next(self._ids))
        host = ""
        if not isinstance(request, TokenizeText | ReadBatch):
            host, there = await location(Path(request.checkpoint))
            request = structs.replace(request, checkpoint=there) if host else request
        try:
            line = encode(request)
        except UnicodeEncodeError:
            raise PromptEncodingError(
                "the text has a lone surrogate (half of a character)", todo="give text that UTF-8 can encode"
            ) from None
        while True:
            known = self._processes.get(host)
            process = await self._running_process(host)
            received_any = False
            try:
                async with aclosing(process.stream(request.id, line)) as replies:
                    async for reply in replies:
                        received_any = True
                        yield reply
                return
            except RemoteInferenceError:
                if received_any or process is not known:
                    raise

    async def start(self, checkpoint: Path | None = None) -> None:
        """Start the process that answers for `checkpoint`, whose imports take seconds, before there is a request.

        An error is not reported here, but by the first request, which tries again.
        """
        with contextlib.suppress(LlmtuiError):
            host = (await location(checkpoint)).host if checkpoint is not None else ""
            await self._running_process(host)

    async def _running_process(self, host: str) -> _InferenceProcess:
        async with self._starting:
            process = self._processes.get(host)
            if process is None or process.ended:
                remote = await asyncio.to_thread(RemoteProcess, self._workspace, host) if host else None
                command = remote.command if remote else self._command
                process = self._processes[host] = await _InferenceProcess.start(command, self._workspace, remote)
            return process

    async def close(self) -> None:
        """Kill the inference processes. They also exit by themselves when this process does: their input closes."""
        async with self._starting:
            processes, self._processes = list(self._processes.values()), {}
        await asyncio.gather(*(process.kill() for process in processes))


class _InferenceProcess:
    """One process, and a queue of replies for each request it is working on."""

    def __init__(self, process: asyncio.subprocess.Process, log: Path, remote: RemoteProcess | None) -> None:
        self._process, self._log, self._remote = process, log, remote
        self.ended = False
        """Whether it accepts no more requests."""
        self._queues: dict[int, asyncio.Queue[AnyReply | LlmtuiError]] = {}
        """By request id; an LlmtuiError is the last item."""
        self._bytes: dict[int, int] = {}
        """Bytes of the replies so far, by request id."""
        self._reader = asyncio.create_task(self._read_replies())

    @classmethod
    async def start(
        cls, command: Sequence[str], workspace: Workspace, remote: RemoteProcess | None
    ) -> _InferenceProcess:
        """remote: if the command starts the process on a host. Raises InferenceProcessError if it cannot be started."""
        log = workspace.state / LOG_NAME
        try:
            with open_log(log) as stderr:
                process = await asyncio.create_subprocess_exec(
                    *command,
                    stdin=asyncio.subprocess.PIPE,
                    stdout=asyncio.subprocess.PIPE,
                    stderr=asyncio.subprocess.PIPE if remote else stderr,
                    env=child_environment(workspace),
                    limit=MAX_LINE_BYTES,
                    process_group=0,  # Ctrl+C in the terminal must reach this process only
                )
        except OSError as error:
            raise InferenceProcessError(
                f"the inference process cannot be started ({error.strerror})", where=str(error.filename or "")
            ) from None
        return cls(process, log, remote)

    async def stream(self, request: int, line: bytes) -> AsyncGenerator[AnyReply, None]:
        """Send `line`, the request with that id, and yield its replies. Raises as `InferenceClient.stream` does."""
        replies = self._queues[request] = asyncio.Queue[AnyReply | LlmtuiError]()
        finished = False
        try:
            if self.ended:  # while the caller was waiting
                raise await self._reader
            self._send(line)
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
            self._queues.pop(request, None)
            self._bytes.pop(request, None)
            if not finished:
                self._send(encode(Cancel(id=request)))

    def _send(self, line: bytes) -> None:
        """Write without waiting: what the process has not read yet is buffered in memory."""
        assert self._process.stdin is not None
        with contextlib.suppress(OSError, RuntimeError):
            self._process.stdin.write(line + b"\n")

    async def _read_replies(self) -> LlmtuiError:
        """Put each reply into its request's queue until the process exits or sends an invalid line; returns why."""
        assert self._process.stdout is not None
        errors, reason = None, None
        if self._remote and self._process.stderr:
            errors = asyncio.create_task(self._remote.read_errors(self._process.stderr))
        try:
            if self._remote:
                reason = await self._remote.greeted(self._process.stdout)
            while reason is None and (line := await self._process.stdout.readline()):
                reply: AnyReply = parse(decode_reply, line)
                if self._remote and not is_consistent(reply):
                    reason = self._error("the inference process sent an invalid reply")
                    break
                self._dispatch(reply, len(line))
        except (OSError, ValueError):
            reason = self._error("the inference process sent an invalid reply")
        finally:
            self.ended = True
        if reason:
            self._send_kill()
        if errors:  # what the command has started may hold it open
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(errors, _LAST_ERRORS_TIMEOUT)
        reason = reason or await self._wait_for_exit()
        for replies in self._queues.values():
            replies.put_nowait(reason)
        return reason

    def _error(self, what: str) -> LlmtuiError:
        if self._remote:
            return self._remote.error(what)
        return InferenceProcessError(what, where=str(self._log), todo="try again; it will be restarted")

    def _dispatch(self, reply: AnyReply, size: int) -> None:
        replies = self._queues.get(reply.id)
        if replies is None:
            return  # the request was cancelled
        received = self._bytes[reply.id] = self._bytes.get(reply.id, 0) + size
        error: LlmtuiError
        if self._remote and received > MAX_REPLY_BYTES:
            error = self._error(f"more than {MAX_REPLY_BYTES / 2**20:.0f} MiB came in reply to one request")
        elif replies.qsize() >= MAX_PENDING_REPLIES:
            error = SlowConsumerError(
                f"{MAX_PENDING_REPLIES:,} replies were not read in time, and the request was cancelled",
                todo="request less at once",
            )
        else:
            replies.put_nowait(reply)
            return
        del self._queues[reply.id]
        replies.put_nowait(error)
        self._send(encode(Cancel(id=reply.id)))

    async def _wait_for_exit(self) -> LlmtuiError:
        """How the process exited after closing its output; it is killed if it does not exit in time."""
        try:
            code = await asyncio.wait_for(self._process.wait(), _EXIT_TIMEOUT)
        except TimeoutError:
            self._send_kill()
            return self._error("the inference process closed its output")
        return self._remote.why_ended(code) if self._remote else self._error(_describe_exit(code))

    def _send_kill(self) -> None:
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)  # what connects to a host may have started others

    async def kill(self) -> None:
        """Kill the process and wait until it and its pipes are gone."""
        self.ended = True
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
