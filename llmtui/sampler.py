"""The sampler child process, as the command line and the chat screen use it."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Sequence
from typing import Any

from core.runs.launch import environment, python
from core.sample.protocol import Cancel, Finished, Generate, Refused, Reply, decode_reply, encode
from core.trouble import Trouble
from core.workspace import Workspace


class SamplerDied(Trouble):
    doing = "draw text"


class Sampler:
    """One child process, started at the first question and again when it has died. Use from one event loop."""

    def __init__(self, workspace: Workspace, command: Sequence[str] | None = None) -> None:
        """command: what speaks `core.sample.protocol`; our own server when not given."""
        self._workspace = workspace
        self._command = list(command or python("core.sample.serve"))
        self._process: asyncio.subprocess.Process | None = None
        self._ids = itertools.count(1)
        self._turn = asyncio.Lock()

    async def generate(self, checkpoint: str, prompt: str, **settings: Any) -> AsyncIterator[Reply]:
        """Yield the replies to one `Generate`, the last a Finished or Refused. Leaving the loop early cancels it.

        settings: the other fields of `Generate`. Raises SamplerDied.
        """
        request = Generate(id=next(self._ids), checkpoint=checkpoint, prompt=prompt, **settings)
        async with self._turn:
            process = await self._running()
            self._send(process, request)
            finished = False
            try:
                while not finished:
                    reply = await self._reply(process)
                    finished = isinstance(reply, Finished | Refused)
                    if reply.id == request.id:
                        yield reply
                    else:
                        finished = False  # the end of an earlier, cancelled one
            finally:
                if not finished:
                    self._send(process, Cancel(id=request.id))

    async def _running(self) -> asyncio.subprocess.Process:
        if self._process is None or self._process.returncode is not None:
            self._process = await asyncio.create_subprocess_exec(
                *self._command,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.DEVNULL,
                env=environment(self._workspace),
                limit=2**24,
            )
        return self._process

    def _send(self, process: asyncio.subprocess.Process, request: Generate | Cancel) -> None:
        assert process.stdin is not None
        with contextlib.suppress(OSError, RuntimeError):
            process.stdin.write(encode(request) + b"\n")

    async def _reply(self, process: asyncio.subprocess.Process) -> Reply:
        assert process.stdout is not None
        line = await process.stdout.readline()
        if not line:
            code = await process.wait()
            raise SamplerDied(f"the sampler process ended with code {code}", todo="try again; it starts anew")
        reply: Reply = decode_reply(line)
        return reply

    async def close(self) -> None:
        """End the child. It also ends by itself when this process does: its input closes."""
        if self._process is not None and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()
