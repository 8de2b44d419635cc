"""The HTTP client that `datasets` and `huggingface_hub` use while a `HubSession` is open.

Their own retries sleep as long as a server asks for, accept a short body as complete and cannot be interrupted. This
client bounds every wait, checks and counts every body, and can be closed from another thread.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import socket
import threading
import time
import warnings
import weakref
from typing import Any
from urllib.parse import unquote

from core.download.hub_errors import RESUME_LATER, HubError, offline_mode_error, unreachable

RETRY_SECONDS = 60.0
"""Seconds for which a request that fails or gets no response is retried."""
FALLBACK_RETRY_SECONDS = 20.0
"""The same if there are other repositories to try."""
FIRST_RESPONSE_SECONDS = 8.0
"""The same before the first response of the session, so that a missing network is reported soon."""
READ_TIMEOUT = 20.0
"""Seconds without a byte after which a request is aborted and retried."""
CONNECT_TIMEOUT = 5.0
BACKOFF = 1.0
"""Seconds before the first retry; doubles up to eightfold."""
MAX_BACKOFF = 30.0
"""Upper limit in seconds of what a Retry-After header may ask for."""

_RANGE = re.compile(r"bytes=(\d+)-(\d+)\Z")
_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+)\Z")
_ERRNO = re.compile(r"\[Errno -?\d+\] ")


class DownloadStoppedError(Exception):
    """The session was closed."""


class HubSession:
    """Replaces the HTTP client of the libraries between `open` and `release`; `close` aborts all requests for good."""

    def __init__(self) -> None:
        self.retry_seconds = RETRY_SECONDS
        self.opened = False
        """Whether the libraries are imported."""
        self.responded = False
        """Whether the hub has sent any response yet."""
        self.received = 0
        """Bytes of data files received so far."""
        self.sizes: dict[str, int] = {}
        """Size in bytes of each file in the hub's listing, by `commit/path`."""
        self._closed = threading.Event()
        self._sockets: weakref.WeakSet[socket.socket] = weakref.WeakSet()

    def open(self) -> None:
        """Install the client, and turn off telemetry, progress bars and log messages of the libraries.

        Raises HubError if offline mode is set in the environment.
        """
        # read at import; Xet would transfer files outside of this client
        os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
        os.environ.setdefault("HF_HUB_DISABLE_XET", "1")
        import datasets
        import huggingface_hub
        from huggingface_hub import constants, set_client_factory
        from huggingface_hub.utils import disable_progress_bars  # type: ignore[attr-defined]

        constants.HF_HUB_DISABLE_TELEMETRY = True
        datasets.config.HF_UPDATE_DOWNLOAD_COUNTS = False
        for library in (datasets, huggingface_hub):
            library.utils.logging.set_verbosity(logging.CRITICAL + 1)
        warnings.filterwarnings("ignore", module=r"(datasets|huggingface_hub)\b")
        datasets.disable_progress_bars()
        disable_progress_bars()
        if constants.is_offline_mode() or datasets.config.HF_HUB_OFFLINE:
            raise offline_mode_error()
        set_client_factory(self._client)
        self.opened = True

    def release(self) -> None:
        """Let the libraries use a plain client again; call it in the thread that made the requests."""
        import httpx2
        from huggingface_hub import set_client_factory

        set_client_factory(lambda: httpx2.Client(follow_redirects=True, timeout=READ_TIMEOUT))

    def close(self) -> None:
        """Abort every request at once, also those in progress in another thread."""
        self._closed.set()
        for connection in list(self._sockets):
            with contextlib.suppress(OSError):  # closed already
                connection.shutdown(socket.SHUT_RDWR)

    def _client(self) -> Any:
        import httpx2

        session = self

        class Client(httpx2.Client):
            def send(self, request: httpx2.Request, **options: Any) -> Any:
                return session._send(super().send, request, options)

        return Client(follow_redirects=True)

    def _send(self, send: Any, request: Any, options: dict[str, Any]) -> Any:
        """Send a request, with retries. Raises HubError, DownloadStoppedError."""
        import httpx2
        from huggingface_hub import constants

        started, backoff = time.monotonic(), BACKOFF
        timeouts = {"connect": CONNECT_TIMEOUT, "read": READ_TIMEOUT, "write": READ_TIMEOUT, "pool": READ_TIMEOUT}
        while True:
            if self._closed.is_set():
                raise DownloadStoppedError
            if request.url.netloc != httpx2.URL(constants.ENDPOINT).netloc:
                # download counters, registries, links in a card; redirects by the hub itself are followed below `send`
                raise HubError("choice", f"{request.url.host} is not the hub, and is not asked")
            limit = self.retry_seconds if self.responded else FIRST_RESPONSE_SECONDS
            request.extensions = {
                **request.extensions,
                "timeout": timeouts | {"read": min(READ_TIMEOUT, limit)},
                "trace": self._trace,
            }
            retry_after = 0.0
            try:
                response = send(request, **options)
                self.responded = True
                error, retry_after = self._check(request, response, options.get("stream", False))
                if error is None:
                    return response
            except httpx2.TransportError as failure:
                if self._closed.is_set():
                    raise DownloadStoppedError from None
                error = _transport_error(failure)
                if not self.responded and not isinstance(failure, httpx2.ReadTimeout):
                    raise error from None
            wait = min(max(backoff, retry_after), MAX_BACKOFF)
            if time.monotonic() - started + wait > limit:
                raise error
            self._closed.wait(wait)
            backoff = min(backoff * 2, BACKOFF * 8)

    def _trace(self, event: str, info: dict[str, Any]) -> None:
        """Keep references to the sockets: only a shutdown wakes a thread that reads from one."""
        if event in ("connection.connect_tcp.complete", "connection.start_tls.complete"):
            connection = info["return_value"].get_extra_info("socket")
            if isinstance(connection, socket.socket):
                self._sockets.add(connection)

    def _check(self, request: Any, response: Any, stream: bool) -> tuple[HubError | None, float]:
        """The error of a response for which a retry may help, or None; and Retry-After in seconds.

        stream: the body is not read yet, and is not checked.
        """
        status = response.status_code
        if status == 429 or status in (408, 500, 502, 503, 504):
            response.close()
            header = response.headers.get("retry-after", "")
            retry_after = float(header) if header.isdigit() else 0.0
            if status == 429:
                what = "the hub allows no more requests for now (error 429)"
                todo = f"log in with `hf auth login` for a higher limit; {RESUME_LATER}"
                return HubError("limited", what, todo=todo), retry_after
            return HubError("failing", f"the hub answers with error {status}", todo=RESUME_LATER), retry_after
        requested = _RANGE.match(request.headers.get("range", ""))
        if status not in (200, 206) or requested is None or stream:
            return None, 0.0
        first, last = int(requested[1]), int(requested[2])
        received = _CONTENT_RANGE.match(response.headers.get("content-range", ""))
        name = unquote(request.url.path).partition("/resolve/")[2]
        if received is None:
            return _wrong_body(name, "the hub sends the whole of it where a part was asked for"), 0.0
        size = self.sizes.get(name)
        if size is not None and int(received[3]) != size:
            return _wrong_body(name, f"it has {int(received[3]):,} bytes where the hub's listing says {size:,}"), 0.0
        length = len(response.content)
        if (int(received[1]), int(received[2])) != (first, last) or length != last - first + 1:
            return _wrong_body(name, f"{length:,} bytes came where {last - first + 1:,} were asked for"), 0.0
        self.received += length
        return None, 0.0


def _wrong_body(name: str, why: str) -> HubError:
    return HubError("failing", f"{name.partition('/')[2]}: {why}", todo=RESUME_LATER)


def _transport_error(error: Exception) -> HubError:
    """The HubError for a connection that failed, broke or timed out."""
    import httpx2

    if isinstance(error, httpx2.ConnectError | httpx2.ConnectTimeout | httpx2.ProxyError | httpx2.UnsupportedProtocol):
        return unreachable(_ERRNO.sub("", str(error)) or "no answer to the attempt to connect")
    if isinstance(error, httpx2.TimeoutException):
        return HubError("failing", "the hub has fallen silent", todo=RESUME_LATER)
    return HubError("failing", f"the connection to the hub broke ({error})", todo=RESUME_LATER)
