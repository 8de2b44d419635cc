"""The sampler child process, as the command line and the screens use it."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Sequence

from msgspec import structs

from core.runs.launch import environment, python
from core.sample.protocol import Cancel, Finished, Questions, Refused, Replies, Requests, decode_reply, encode
from core.trouble import Trouble
from core.workspace import Workspace


class SamplerDied(Trouble):
    doing = "draw text"


class Sampler:
    """One child process, started at the first question and again when it has died. Use from one event loop.

    Any number of questions can be asked at once.
    """

    def __init__(self, workspace: Workspace, command: Sequence[str] | None = None) -> None:
        """command: what speaks `core.sample.protocol`; our own server when not given."""
        self._workspace = workspace
        self._command = list(command or python("core.sample.serve"))
        self._process: asyncio.subprocess.Process | None = None
        self._ids = itertools.count(1)
        self._starting = asyncio.Lock()
        self._waiting: dict[int, asyncio.Queue[Replies | None]] = {}
        self._listener: asyncio.Task[None] | None = None

    async def ask(self, request: Questions) -> AsyncIterator[Replies]:
        """Yield the replies to `request`, whose id is given here, the last a Finished or Refused.

        Leaving the loop early cancels it. Raises SamplerDied.
        """
        request = structs.replace(request, id=next(self._ids))
        replies: asyncio.Queue[Replies | None] = asyncio.Queue()
        process = await self._running()
        self._waiting[request.id] = replies
        finished = False
        try:
            self._send(process, request)
            while not finished:
                reply = await replies.get()
                if reply is None:
                    finished = True
                    code = await process.wait()
                    raise SamplerDied(f"the sampler process ended with code {code}", todo="try again; it starts anew")
                finished = isinstance(reply, Finished | Refused)
                yield reply
        finally:
            del self._waiting[request.id]
            if not finished:
                self._send(process, Cancel(id=request.id))

    async def _running(self) -> asyncio.subprocess.Process:
        async with self._starting:
            if self._process is None or self._process.returncode is not None:
                self._process = await asyncio.create_subprocess_exec(
                    *self._command,
                    stdin=asyncio.subprocess.PIPE,
                    stdout=asyncio.subprocess.PIPE,
                    stderr=asyncio.subprocess.DEVNULL,
                    env=environment(self._workspace),
                    limit=2**26,
                )
                self._listener = asyncio.create_task(self._listen(self._process))
            return self._process

    async def _listen(self, process: asyncio.subprocess.Process) -> None:
        """Hand each reply to whoever waits for it, until the process ends."""
        assert process.stdout is not None
        while line := await process.stdout.readline():
            reply: Replies = decode_reply(line)
            if waiting := self._waiting.get(reply.id):
                waiting.put_nowait(reply)
        for waiting in self._waiting.values():
            waiting.put_nowait(None)

    def _send(self, process: asyncio.subprocess.Process, request: Requests) -> None:
        assert process.stdin is not None
        with contextlib.suppress(OSError, RuntimeError):
            process.stdin.write(encode(request) + b"\n")

    async def close(self) -> None:
        """End the child. It also ends by itself when this process does: its input closes."""
        if self._process is not None and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()
        if self._listener is not None:
            await self._listener
