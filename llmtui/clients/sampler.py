"""The sampler child process, as the command line and the screens use it."""

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
from core.runs.launch import environment, python
from core.sample.protocol import (
    LONGEST,
    Cancel,
    Finished,
    Questions,
    Refused,
    Replies,
    decode_reply,
    encode,
)
from core.storage.workspace import Workspace
from llmtui.clients.child_job import appended

BEHIND = 2**16
"""Replies to one question that wait to be read; one that is further behind is given up."""
_GRACE = 5.0
"""Seconds that a child whose output has ended may take to end itself."""


class InferenceProcessError(LlmtuiError):
    doing = "draw text"


class InferenceTimeoutError(LlmtuiError):
    doing = "draw text"


class PromptTextError(UsageError):
    doing = "draw text"


class Sampler:
    """One child process, started at the first question and again when it has died. Use from one event loop.

    Any number of questions can be asked at once.
    """

    def __init__(self, workspace: Workspace, command: Sequence[str] | None = None) -> None:
        """command: what speaks `core.sample.protocol`; our own server when not given."""
        self._workspace = workspace
        self._command = list(command or python("core.sample.serve"))
        self._child: _Child | None = None
        self._ids = itertools.count(1)
        self._starting = asyncio.Lock()

    async def ask(self, request: Questions) -> AsyncGenerator[Replies, None]:
        """Yield the replies to `request`, whose id is given here, the last a Finished or Refused.

        Leaving the loop early cancels it. Whoever reads too slowly keeps nobody else waiting. Raises
        InferenceProcessError, InferenceTimeoutError, PromptTextError.
        """
        request = structs.replace(request, id=next(self._ids))
        try:
            line = encode(request)
        except UnicodeEncodeError:
            raise PromptTextError("half a character is in it", todo="give text that UTF-8 can hold") from None
        async with self._starting:
            if self._child is None or self._child.ended:
                self._child = await _Child.start(self._command, self._workspace)
            child = self._child
        replies = child.waiting[request.id] = asyncio.Queue[Replies | LlmtuiError]()
        finished = False
        try:
            child.send(line)
            while not finished:
                reply = await replies.get()
                finished = isinstance(reply, Finished | Refused | LlmtuiError)
                if isinstance(reply, LlmtuiError):
                    raise reply
                yield reply
        finally:
            child.waiting.pop(request.id, None)
            if not finished:
                child.send(encode(Cancel(id=request.id)))

    async def close(self) -> None:
        """End the child. It also ends by itself when this process does: its input closes."""
        async with self._starting:
            child, self._child = self._child, None
        if child is not None:
            await child.end()


class _Child:
    """One process and those who wait for its replies."""

    def __init__(self, process: asyncio.subprocess.Process, log: Path) -> None:
        self._process, self._log = process, log
        self.ended = False
        """It takes no more questions."""
        self.waiting: dict[int, asyncio.Queue[Replies | LlmtuiError]] = {}
        """By the questions' ids; an LlmtuiError is the last that comes."""
        self._listener = asyncio.create_task(self._listen())

    @classmethod
    async def start(cls, command: Sequence[str], workspace: Workspace) -> _Child:
        """Raises InferenceProcessError where the system starts no process."""
        log = workspace.state / "sampler.log"
        try:
            with appended(log) as stderr:
                process = await asyncio.create_subprocess_exec(
                    *command,
                    stdin=asyncio.subprocess.PIPE,
                    stdout=asyncio.subprocess.PIPE,
                    stderr=stderr,
                    env=environment(workspace),
                    limit=LONGEST,
                    process_group=0,  # ctrl+c in the terminal is for us to understand
                )
        except OSError as error:
            raise InferenceProcessError(
                f"the sampler process cannot be started ({error.strerror})", where=str(error.filename or "")
            ) from None
        return cls(process, log)

    def send(self, line: bytes) -> None:
        """Without waiting: what a child does not read yet stays in memory."""
        assert self._process.stdin is not None
        with contextlib.suppress(OSError, RuntimeError):
            self._process.stdin.write(line + b"\n")

    async def _listen(self) -> None:
        """Hand each reply to whoever waits for it, until the process ends or says what is no reply."""
        assert self._process.stdout is not None
        why = ""
        try:
            while line := await self._process.stdout.readline():
                self._hand_over(parse(decode_reply, line))
        except (OSError, ValueError):
            why = "the sampler process said what is no reply"
            self._kill()
        finally:
            self.ended = True
        why = why or await self._farewell()
        for replies in self.waiting.values():
            replies.put_nowait(InferenceProcessError(why, where=str(self._log), todo="try again; it starts anew"))

    def _hand_over(self, reply: Replies) -> None:
        replies = self.waiting.get(reply.id)
        if replies is None:
            return  # nobody wants it any more
        if replies.qsize() < BEHIND:
            replies.put_nowait(reply)
        else:
            del self.waiting[reply.id]
            replies.put_nowait(
                InferenceTimeoutError(
                    f"it was {BEHIND:,} replies ahead of its reader, and was stopped", todo="ask for less at once"
                )
            )
            self.send(encode(Cancel(id=reply.id)))

    async def _farewell(self) -> str:
        """How the process ended whose output has ended, in words, soon: one that says nothing any more is of no use."""
        try:
            return _ended(await asyncio.wait_for(self._process.wait(), _GRACE))
        except TimeoutError:
            self._kill()
            return "the sampler process closed its output"

    def _kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()

    async def end(self) -> None:
        """Kill it, and wait until nothing is left of it."""
        self.ended = True
        if self._process.returncode is None:
            self._kill()
        await self._listener
        await self._process.wait()
        assert self._process.stdin is not None
        self._process.stdin.close()
        with contextlib.suppress(OSError):
            await self._process.stdin.wait_closed()


def _ended(code: int) -> str:
    if code >= 0:
        return f"the sampler process ended with code {code}"
    name = next((known.name for known in signal.Signals if known == -code), f"signal {-code}")
    hint = ", as the system does when memory runs out" if -code == signal.SIGKILL else ""
    return f"the sampler process was ended by {name}{hint}"
