"""The HTTP server: binds the address and serves until a signal arrives."""

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
from llmtui.server.auth import AuthMiddleware
from llmtui.server.registry import ModelRegistry
from llmtui.server.routes import Api

SHUTDOWN_TIMEOUT = 2
"""Seconds that responses get to be sent at shutdown; the inference process has exited before, so none grows."""


CLIENT_TIMEOUT = 60.0
"""Seconds that a client may take to send a request, and to read more of a response."""
BUSY_CLIENT_TIMEOUT = 2.0
"""The same for reading a response while other requests wait for a slot: 20 unread streams held the 8 slots
for 200 s."""
SEND_BUFFER_BYTES = 2**13
"""SO_SNDBUF. With the default of megabytes, tens of thousands of tokens are generated before it is noticed that the
client does not read."""
MAX_CONNECTIONS = 256
"""Further ones get 503; retry later."""


class ServeError(LlmtuiError):
    doing = "serve"


def bind_socket(host: str, port: int) -> socket.socket:
    """A listening socket at that address; port 0 takes a free one. Raises ServeError."""
    where = f"{host}:{port}"
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except (OSError, UnicodeError) as error:
        reason = (getattr(error, "strerror", "") or str(error)).lower()
        raise ServeError(f"unknown host: {reason}", where=where, todo="use 127.0.0.1 for this machine") from None
    server = socket.socket(family, kind, protocol)
    try:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)  # its connections have the same
        server.bind(address)
        server.listen()
    except OSError as error:
        server.close()
        raise ServeError(
            (error.strerror or str(error)).lower(), where=where, todo="give another --port; 0 takes one that is free"
        ) from None
    return server


async def serve(workspace: Workspace, models: ModelRegistry, server: socket.socket, host: str, token: str) -> None:
    """Serve on the socket `server` until a signal arrives, whose usual action follows."""
    api = Api(InferenceClient(workspace), models)
    app = AuthMiddleware(api.app(), token, host)
    await HttpServer(app, api.close, lambda: api.has_waiting_requests).serve([server])


class HttpServer(uvicorn.Server):
    """A uvicorn server that at shutdown first ends what generates the responses, then waits for them to be sent."""

    def __init__(
        self,
        app: ASGIApp,
        close: Callable[[], Awaitable[None]],
        has_waiting_requests: Callable[[], bool] = lambda: False,
    ) -> None:
        """close: ends all responses. has_waiting_requests: whether requests wait for others to finish."""
        self._close = close
        super().__init__(
            uvicorn.Config(
                app,
                loop="asyncio",
                http=partial(_Connection, has_waiting_requests),  # type: ignore[arg-type]
                limit_concurrency=MAX_CONNECTIONS,
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                log_level=logging.WARNING,
                server_header=False,
                proxy_headers=False,
                timeout_graceful_shutdown=SHUTDOWN_TIMEOUT,
            )
        )

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await self._close()
        await super().shutdown(sockets)


class _Connection(H11Protocol):
    """uvicorn's connection with timeouts for clients that neither send nor read: they keep a slot from others."""

    _request_timer: asyncio.TimerHandle | None = None
    _read_timer: asyncio.TimerHandle | None = None

    def __init__(self, has_waiting_requests: Callable[[], bool], *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._has_waiting_requests = has_waiting_requests

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        transport.set_write_buffer_limits(SEND_BUFFER_BYTES)
        self._set_request_timer()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._set_request_timer()

    def _set_request_timer(self) -> None:
        if self.cycle is not None and not self.cycle.response_complete:
            if self._request_timer is not None:
                self._request_timer.cancel()
            self._request_timer = None
        elif self._request_timer is None:
            self._request_timer = self.loop.call_later(CLIENT_TIMEOUT, self.transport.abort)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._check_reader(self.loop.time())

    def _check_reader(self, paused_at: float) -> None:
        unread_for = self.loop.time() - paused_at
        if unread_for >= (BUSY_CLIENT_TIMEOUT if self._has_waiting_requests() else CLIENT_TIMEOUT):
            self.transport.abort()
        else:
            interval = min(0.5, BUSY_CLIENT_TIMEOUT, CLIENT_TIMEOUT)
            self._read_timer = self.loop.call_later(interval, self._check_reader, paused_at)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._read_timer is not None:
            self._read_timer.cancel()
