"""The server itself: the address taken, requests answered until somebody ends it."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from core.errors import LlmtuiError
from core.storage.workspace import Workspace
from llmtui.clients.inference_client import InferenceClient
from llmtui.server.auth import Gate
from llmtui.server.registry import Offers
from llmtui.server.routes import Service

PATIENCE = 2
"""Seconds that responses get to be sent at shutdown; the inference process has exited before, so none grows."""


SLOW = 60.0
"""Seconds that a client may take to ask, and to make room for more of an answer."""
UNREAD = 2.0
"""The same for an answer while others wait for a place among those that are answered: 20 streams that nobody reads held
the 8 places for 200 s."""
AHEAD = 2**13
"""Bytes of an answer that the system takes before its client reads them. Left to itself it takes megabytes: tens of
thousands of tokens are drawn before anybody notices that nobody reads."""
CONNECTIONS = 256
"""At once; whoever comes then is told to come again."""


class ServeError(LlmtuiError):
    doing = "serve"


def listening(host: str, port: int) -> socket.socket:
    """A socket bound to that address; port 0 takes a free one. Raises ServeError."""
    where = f"{host}:{port}"
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except (OSError, UnicodeError) as error:
        reason = (getattr(error, "strerror", "") or str(error)).lower()
        raise ServeError(f"there is no such host: {reason}", where=where, todo="127.0.0.1 is this machine") from None
    server = socket.socket(family, kind, protocol)
    try:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, AHEAD)  # its connections have the same
        server.bind(address)
        server.listen()
    except OSError as error:
        server.close()
        raise ServeError(
            (error.strerror or str(error)).lower(), where=where, todo="give another --port; 0 takes one that is free"
        ) from None
    return server


async def serve(workspace: Workspace, offers: Offers, server: socket.socket, host: str, token: str) -> None:
    """Answer requests at `server` until a signal comes, which then does what it always does."""
    service = Service(InferenceClient(workspace), offers)
    await _Server(Gate(service.routes(), token, host), service.close, lambda: service.wanted).serve([server])


class _Server(uvicorn.Server):
    """uvicorn, which ends what answers before it waits for the answers to end."""

    def __init__(
        self, app: ASGIApp, closing: Callable[[], Awaitable[None]], wanted: Callable[[], bool] = lambda: False
    ) -> None:
        """closing: ends what answers. wanted: whether requests wait for others to be answered."""
        self._closing = closing
        super().__init__(
            uvicorn.Config(
                app,
                loop="asyncio",
                http=partial(_Connection, wanted),  # type: ignore[arg-type]
                limit_concurrency=CONNECTIONS,
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                log_level=logging.WARNING,
                server_header=False,
                proxy_headers=False,
                timeout_graceful_shutdown=PATIENCE,
            )
        )

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await self._closing()
        await super().shutdown(sockets)


class _Connection(H11Protocol):
    """uvicorn's, cut off when the client neither asks nor reads: nobody else would get what it holds."""

    _asking: asyncio.TimerHandle | None = None
    _reading: asyncio.TimerHandle | None = None

    def __init__(self, wanted: Callable[[], bool], *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._wanted = wanted

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        transport.set_write_buffer_limits(AHEAD)
        self._await_request()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._await_request()

    def _await_request(self) -> None:
        if self.cycle is not None and not self.cycle.response_complete:
            if self._asking is not None:
                self._asking.cancel()
            self._asking = None
        elif self._asking is None:
            self._asking = self.loop.call_later(SLOW, self.transport.abort)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._await_reader(self.loop.time())

    def _await_reader(self, since: float) -> None:
        unread = self.loop.time() - since
        if unread >= (UNREAD if self._wanted() else SLOW):
            self.transport.abort()
        else:
            self._reading = self.loop.call_later(min(0.5, UNREAD, SLOW), self._await_reader, since)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._reading is not None:
            self._reading.cancel()
