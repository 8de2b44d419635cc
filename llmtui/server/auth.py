"""What every request passes: who may ask, under which name, how much; and a line about each."""

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

BODY_LIMIT = 2**24
"""Bytes of a request."""


GONE = "nobody waits for the answer any more"


class Gate:
    """Lets through to `app` what has the token and speaks to this machine by one of its own names."""

    def __init__(self, app: ASGIApp, token: str, host: str) -> None:
        self._app, self._token = app, token.encode()
        self._names = {"localhost", host.lower(), socket.gethostname().lower()}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        began, status = time.monotonic(), 0
        notes = scope.setdefault("state", {})

        async def noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            refusal = self._refusal(Headers(scope=scope))
            app = self._app if refusal is None else refusal.response()
            await app(scope, receive, noting)
        finally:
            about = notes["told"]() if "told" in notes else ""
            line = f"{time.strftime('%H:%M:%S')} {scope['method']} {shown(scope['path'], 200)} {status or '–'}"
            LOG.info(f"{line}{about}, {time.monotonic() - began:.1f} s")

    def _refusal(self, headers: Headers) -> ApiError | None:
        if not self._ours(headers.get("host", "")):
            # a page in a browser can have its own name point to this machine, but cannot ask under another name
            return ApiError(403, "this is not a name of the machine that serves here; use 127.0.0.1 or its address")
        kind, _, token = headers.get("authorization", "").partition(" ")
        if kind.lower() != "bearer" or not compare_digest(token.strip().encode(), self._token):
            return ApiError(401, "the token is missing or another one; `llmtui serve` has printed it when it began")
        return None

    def _ours(self, host: str) -> bool:
        name = host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return name.lower() in self._names
        return True


async def body(request: Request) -> bytes:
    """What `request` carries. Raises ApiError when it is too much."""
    read = bytearray()
    try:
        async for piece in request.stream():
            read += piece
            if len(read) > BODY_LIMIT:
                raise ApiError(413, f"a request has at most {BODY_LIMIT // 2**20} MiB")
    except ClientDisconnect:
        raise ApiError(499, GONE) from None
    return bytes(read)
