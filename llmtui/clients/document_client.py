"""Asynchronous client of the process that reads documents, `core.jobs.browse`."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import Callable

from core.errors import LlmtuiError
from core.jobs.browse_protocol import (
    MAX_LINE_BYTES,
    Answer,
    DocumentRequest,
    DocumentResponse,
    EndSearch,
    Question,
    SearchProgress,
    Superseded,
    decode_answer,
    encode_line,
)
from core.parsing import ParseError, parse
from core.processes.child_job import Failed
from core.runs.launch import child_environment, python_command
from core.storage.workspace import Workspace
from llmtui.clients.child_job import LOG_NAME, error_of, open_log


class DocumentProcessError(LlmtuiError):
    """The process could not be started, exited, or sent an invalid line."""

    doing = "read the documents"


class DocumentClient:
    """Starts the process with the first question, and again after it has exited. Use it from one event loop only."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._process: asyncio.subprocess.Process | None = None
        self._ids = itertools.count(1)
        self._turn = asyncio.Lock()
        """Held while the answers to one question are read."""

    async def ask(
        self, question: Question, on_progress: Callable[[SearchProgress], None] = lambda _: None
    ) -> Answer | None:
        """The answer to `question`; None if a newer question came first. on_progress: called during a search.

        Raises DocumentProcessError, and the error that the process reports.
        """
        request = DocumentRequest(next(self._ids), question)
        sent_to = self._running()
        if sent_to is not None:  # before it is our turn: this ends a search
            _send(sent_to, request)
        async with self._turn:
            process = self._running() or await self._start()
            if process is not sent_to:
                _send(process, request)
            while True:
                answered = await self._read(process)
                if answered.id != request.id:
                    continue  # to a question whose asker was cancelled
                match answered.answer:
                    case SearchProgress():
                        on_progress(answered.answer)
                    case Superseded():
                        return None
                    case Failed():
                        raise error_of(answered.answer)
                    case answer:
                        return answer

    def end_search(self) -> None:
        """End the search that is being answered, if any: its `ask` returns None."""
        process = self._running()
        if process is not None and self._turn.locked():
            _send(process, DocumentRequest(next(self._ids), EndSearch()))

    async def close(self) -> None:
        """End the process. It also exits by itself when this process does, because its input closes."""
        process, self._process = self._process, None
        if process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        assert process.stdin is not None
        process.stdin.close()
        with contextlib.suppress(OSError):
            await process.stdin.wait_closed()

    def _running(self) -> asyncio.subprocess.Process | None:
        return self._process if self._process and self._process.returncode is None else None

    async def _start(self) -> asyncio.subprocess.Process:
        await self.close()  # the pipes of one that has exited
        try:
            with open_log(self._workspace.state / LOG_NAME) as stderr:
                self._process = await asyncio.create_subprocess_exec(
                    *python_command("core.jobs.browse"),
                    stdin=asyncio.subprocess.PIPE,
                    stdout=asyncio.subprocess.PIPE,
                    stderr=stderr,
                    env=child_environment(self._workspace),
                    limit=MAX_LINE_BYTES,
                    process_group=0,  # Ctrl+C in the terminal must reach this process only
                )
        except OSError as error:
            raise DocumentProcessError(f"no process can be started ({error.strerror})") from None
        return self._process

    async def _read(self, process: asyncio.subprocess.Process) -> DocumentResponse:
        assert process.stdout is not None
        log = str(self._workspace.state / LOG_NAME)
        try:
            line = await process.stdout.readline()
            if line:
                return parse(decode_answer, line)
            reason = "the process that reads them has ended"
        except (OSError, ValueError, ParseError):
            reason = "the process that reads them sent an invalid answer"
        await self.close()
        raise DocumentProcessError(reason, where=log, todo="try again; it will be started again")


def _send(process: asyncio.subprocess.Process, request: DocumentRequest) -> None:
    """Write without waiting."""
    assert process.stdin is not None
    with contextlib.suppress(OSError, RuntimeError):
        process.stdin.write(encode_line(request) + b"\n")
