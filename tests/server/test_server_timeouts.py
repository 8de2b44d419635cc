"""Clients of `llmtui serve` that send no request, do not read, or disconnect."""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import signal
import socket
import subprocess
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from starlette.types import ASGIApp, Receive, Scope, Send

from core.checkpoints import readable_checkpoints
from core.storage.workspace import Workspace
from llmtui.server.generation import ChoiceDelta, GenerationJob
from llmtui.server.registry import ServedModel
from llmtui.server.responses import ResponseWriter
from llmtui.server.routes import EventStreamResponse
from llmtui.server.server import CLIENT_TIMEOUT, HttpServer, bind_socket
from tests.byte_models import run_with_checkpoints
from tests.cli_runs import LLMTUI, ROOT
from tests.waiting import PATIENCE

pytestmark = pytest.mark.heavy

TOKEN = "a-token-for-tests"


class Endless:
    """A response that lasts until its client disconnects."""

    def __init__(self) -> None:
        self.ended = asyncio.Event()
        self.sent = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await EventStreamResponse(self._events(), self._nothing())(scope, receive, send)
        self.ended.set()

    async def _events(self) -> AsyncGenerator[bytes, None]:
        while True:
            await asyncio.sleep(0)
            self.sent += 1
            yield b"x" * 2**16

    async def _nothing(self) -> AsyncGenerator[ChoiceDelta, None]:
        yield ChoiceDelta(0, "")


async def serving(
    app: ASGIApp, port: list[int], is_busy: Callable[[], bool] = lambda: False
) -> tuple[HttpServer, asyncio.Task[None]]:
    async def closing() -> None: ...

    address = bind_socket("127.0.0.1", 0)
    port.append(address.getsockname()[1])
    server = HttpServer(app, closing, is_busy)
    return server, asyncio.create_task(server.serve([address]))


def test_a_client_that_does_not_read_is_disconnected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llmtui.server.server.CLIENT_TIMEOUT", 0.2)

    async def run_server() -> None:
        app, port = Endless(), list[int]()
        server, task = await serving(app, port)
        with socket.create_connection(("127.0.0.1", port[0])) as line:
            line.sendall(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n")
            await asyncio.wait_for(app.ended.wait(), PATIENCE)
        server.should_exit = True
        await task

    asyncio.run(run_server())


def test_a_client_that_does_not_read_is_disconnected_sooner_if_others_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """Alone, a slow client has a longer timeout."""
    monkeypatch.setattr("llmtui.server.server.BUSY_CLIENT_TIMEOUT", 0.2)
    monkeypatch.setattr("llmtui.server.server.CLIENT_TIMEOUT", 10 * PATIENCE)

    async def run_server() -> None:
        app, port, is_busy = Endless(), list[int](), False
        server, task = await serving(app, port, lambda: is_busy)
        with socket.create_connection(("127.0.0.1", port[0])) as line:
            line.sendall(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n")
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(app.ended.wait(), 1)
            is_busy = True
            await asyncio.wait_for(app.ended.wait(), PATIENCE)
        server.should_exit = True
        await task

    asyncio.run(run_server())


def test_little_of_a_response_is_buffered_by_the_system(monkeypatch: pytest.MonkeyPatch) -> None:
    async def run_server() -> None:
        app, port = Endless(), list[int]()
        server, task = await serving(app, port)
        with socket.socket() as line:
            line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            line.connect(("127.0.0.1", port[0]))
            line.sendall(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n")
            await asyncio.sleep(1)
        await asyncio.wait_for(app.ended.wait(), PATIENCE)
        assert app.sent <= 3, "chunks of 64 KiB; 40 with the system's default buffer"
        server.should_exit = True
        await task

    asyncio.run(run_server())


@pytest.mark.parametrize("data", [b"", b"GET / HTTP/1.1\r\nhost: loc"])
def test_a_client_that_sends_no_request_is_disconnected(monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    monkeypatch.setattr("llmtui.server.server.CLIENT_TIMEOUT", 0.2)

    async def run_server() -> None:
        port = list[int]()
        server, task = await serving(Endless(), port)
        reader, writer = await asyncio.open_connection("127.0.0.1", port[0])
        writer.write(data)
        assert await asyncio.wait_for(reader.read(), PATIENCE) == b""
        writer.close()
        server.should_exit = True
        await task

    asyncio.run(run_server())


def test_connections_over_the_limit_get_503(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llmtui.server.server.MAX_CONNECTIONS", 3)

    async def run_server() -> None:
        port = list[int]()
        server, task = await serving(Endless(), port)
        idle = [await asyncio.open_connection("127.0.0.1", port[0]) for _ in range(2)]
        reader, writer = await asyncio.open_connection("127.0.0.1", port[0])
        writer.write(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n")
        assert (await asyncio.wait_for(reader.read(), PATIENCE)).startswith(b"HTTP/1.1 503")
        for _, other in (*idle, (reader, writer)):
            other.close()
        server.should_exit = True
        await task

    asyncio.run(run_server())


class Source:
    """A source of deltas that records whether it was closed."""

    def __init__(self) -> None:
        self.closed = False

    async def deltas(self) -> AsyncGenerator[ChoiceDelta, None]:
        try:
            for _ in range(3):
                yield ChoiceDelta(0, "x")
        finally:
            self.closed = True


@pytest.fixture
def writer(workspace: Workspace) -> ResponseWriter:
    run = run_with_checkpoints(workspace, 100, name="plain")
    model = ServedModel(id=run.id, run=run, checkpoint=readable_checkpoints(run.checkpoints)[0])
    return ResponseWriter(
        GenerationJob(model=model, prompts=[], sampling=run.recipe.sample.sampling(), n=1), chat=False
    )


def test_disconnecting_at_the_first_event_closes_the_generator(writer: ResponseWriter) -> None:
    async def run_server() -> None:
        source = Source()
        deltas = source.deltas()
        events = writer.events(await anext(deltas), deltas)
        await anext(events)
        await events.aclose()
        assert source.closed

    asyncio.run(run_server())


def test_disconnecting_before_the_first_event_closes_the_generator(writer: ResponseWriter) -> None:
    async def run_server() -> None:
        source = Source()
        deltas = source.deltas()
        first = await anext(deltas)

        async def receive() -> dict[str, Any]:
            return {"type": "http.disconnect"}

        async def send(message: object) -> None:
            await asyncio.Event().wait()

        await EventStreamResponse(writer.events(first, deltas), deltas)({"type": "http"}, receive, send)
        assert source.closed

    asyncio.run(run_server())


# -- the process -------------------------------------------------------------------------------------------------------


@contextmanager
def started(workspace: Workspace, stderr: int) -> Iterator[tuple[Any, int]]:
    process = subprocess.Popen(
        [*LLMTUI, "serve", "--port", "0", "--token", TOKEN],
        env=os.environ | {"PYTHONPATH": str(ROOT), "LLMTUI_HOME": str(workspace.home)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=stderr,
        text=True,
    )
    assert process.stdout is not None
    try:
        url = process.stdout.readline()
        yield process, int(url.rpartition(":")[2].partition("/")[0])
    finally:
        process.kill()
        process.communicate()


def get(port: int, path: str) -> tuple[int, str]:
    line = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    line.request("GET", path, headers={"authorization": f"Bearer {TOKEN}"})
    response = line.getresponse()
    status, text = response.status, response.read().decode()
    line.close()
    return status, text


def test_ctrl_c_stops_the_server_with_a_closed_standard_error(workspace: Workspace) -> None:
    with started(workspace, subprocess.PIPE) as (process, port):
        assert "Ctrl-C" in process.stderr.readline()
        process.stderr.close()
        assert [get(port, "/v1/models")[0] for _ in range(3)] == [200] * 3
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=PATIENCE) == 130


def test_unread_streams_do_not_block_other_clients(workspace: Workspace) -> None:
    """Twelve unread streams use all slots; another request is answered before their timeout."""
    run = run_with_checkpoints(workspace, 100, name="plain")
    request = {"model": run.id, "prompt": "a", "stream": True, "max_tokens": 1_000_000}
    connections = []
    with started(workspace, subprocess.DEVNULL) as (_, port):
        for _ in range(12):
            line = socket.socket()
            line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            line.connect(("127.0.0.1", port))
            line.sendall(post_request(request))
            connections.append(line)
        with socket.create_connection(("127.0.0.1", port), timeout=CLIENT_TIMEOUT) as line:
            line.sendall(post_request(request | {"stream": False, "max_tokens": 3}))
            assert line.recv(100).startswith(b"HTTP/1.1 200")
        for each in connections:
            each.close()


def post_request(request: dict[str, Any]) -> bytes:
    body = json.dumps(request).encode()
    head = f"POST /v1/completions HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {TOKEN}\r\n"
    return f"{head}content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n".encode() + body
