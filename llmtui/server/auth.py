"""Middleware of every request: Host header, bearer token, access log; and the size limit of bodies."""

from __future__ import annotations

import ipaddress
import logging
import socket
import time
from secrets import compare_digest

from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from llmtui.server.errors import ApiError
from llmtui.view.sanitize import shown

LOG = logging.getLogger(__name__)

MAX_BODY_BYTES = 2**24


CLIENT_DISCONNECTED = "the client has disconnected"


class AuthMiddleware:
    """Passes requests with the bearer token to `app`, if their Host header is an address or a name of this machine.

    The Host check is against DNS rebinding. Starlette's TrustedHostMiddleware cannot allow every IP address, which
    serving on 0.0.0.0 needs, and its errors are not JSON.
    """

    def __init__(self, app: ASGIApp, token: str, host: str) -> None:
        """host: the name the server was bound to."""
        self._app, self._token = app, token.encode()
        self._host_names = {"localhost", host.lower(), socket.gethostname().lower()}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        start, status = time.monotonic(), 0
        state = scope.setdefault("state", {})

        async def send_and_note_status(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            error = self._check(Headers(scope=scope))
            app = self._app if error is None else error.response()
            await app(scope, receive, send_and_note_status)
        finally:
            note = state["log_note"]() if "log_note" in state else ""
            line = f"{time.strftime('%H:%M:%S')} {scope['method']} {shown(scope['path'], 200)} {status or '–'}"
            LOG.info(f"{line}{note}, {time.monotonic() - start:.1f} s")

    def _check(self, headers: Headers) -> ApiError | None:
        if not self._is_own_host(headers.get("host", "")):
            return ApiError(403, "the Host header does not name this server; use 127.0.0.1 or its address")
        scheme, _, token = headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not compare_digest(token.strip().encode(), self._token):
            return ApiError(401, "the API key is missing or wrong; `llmtui serve` printed it when it started")
        return None

    def _is_own_host(self, host: str) -> bool:
        """host: as in the header, with or without a port."""
        name = host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return name.lower() in self._host_names
        return True


async def read_body(request: Request) -> bytes:
    """The body of `request`. Raises ApiError if it is too large or the client disconnects."""
    body = bytearray()
    try:
        async for chunk in request.stream():
            body += chunk
            if len(body) > MAX_BODY_BYTES:
                raise ApiError(413, f"a request may have at most {MAX_BODY_BYTES // 2**20} MiB")
    except ClientDisconnect:
        raise ApiError(499, CLIENT_DISCONNECTED) from None
    return bytes(body)
