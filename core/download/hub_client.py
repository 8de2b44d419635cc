"""The line to the hub: every request that `datasets` and `huggingface_hub` make goes through it while it is open.

They retry by themselves, but sleep without end when a server says so, take a short answer for a whole one and cannot
be stopped. So their HTTP client is ours: it waits with bounds, counts every body, and lets go at once when told to.
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

from core.download.hub_errors import LATER, HubError, offline, switched_off

PATIENCE = 60.0
"""Seconds for which a request that fails or gets no answer is tried again."""
HASTE = 20.0
"""The same where there are other places to try."""
CONTACT = 8.0
"""The same before anything has answered at all: without a network one should not wait."""
SILENCE = 20.0
"""Seconds without a byte after which a request is given up and tried again."""
CONNECT = 5.0
PAUSE = 1.0
"""Seconds before the second attempt; doubles up to eightfold."""
LONGEST_PAUSE = 30.0
"""A hub that asks for a longer one is asked again after this time."""

_RANGE = re.compile(r"bytes=(\d+)-(\d+)\Z")
_ERRNO = re.compile(r"\[Errno -?\d+\] ")
_PART = re.compile(r"bytes (\d+)-(\d+)/(\d+)\Z")


class DownloadStoppedError(Exception):
    """The line was closed."""


class Line:
    """Opens before the first request, closes for good."""

    def __init__(self) -> None:
        self.patience = PATIENCE
        self.opened = False
        """Whether the libraries are loaded."""
        self.answered = False
        """Whether the hub has said anything yet."""
        self.received = 0
        """Bytes of data files so far."""
        self.sizes: dict[str, int] = {}
        """What the hub's listing says about its files, by commit/path."""
        self._closed = threading.Event()
        self._sockets: weakref.WeakSet[socket.socket] = weakref.WeakSet()

    def open(self) -> None:
        """Take over the libraries' requests, silence them, and forbid what has nothing to do with the data.

        Raises HubError when the environment forbids to ask the hub.
        """
        # read at import; no telemetry, and no second protocol beside the one that is watched here
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
            raise switched_off()
        set_client_factory(self._client)
        self.opened = True

    def release(self) -> None:
        """Give the libraries a plain client again; call it in the thread that made the requests."""
        import httpx2
        from huggingface_hub import set_client_factory

        set_client_factory(lambda: httpx2.Client(follow_redirects=True, timeout=SILENCE))

    def close(self) -> None:
        """End every request at once, also those that wait in another thread."""
        self._closed.set()
        for each in list(self._sockets):
            with contextlib.suppress(OSError):  # it was closed already
                each.shutdown(socket.SHUT_RDWR)

    def _client(self) -> Any:
        import httpx2

        line = self

        class Client(httpx2.Client):
            def send(self, request: httpx2.Request, **options: Any) -> Any:
                return line._send(super().send, request, options)

        return Client(follow_redirects=True)

    def _send(self, send: Any, request: Any, options: dict[str, Any]) -> Any:
        import httpx2
        from huggingface_hub import constants

        started, pause = time.monotonic(), PAUSE
        waits = {"connect": CONNECT, "read": SILENCE, "write": SILENCE, "pool": SILENCE}
        while True:
            if self._closed.is_set():
                raise DownloadStoppedError
            if request.url.netloc != httpx2.URL(constants.ENDPOINT).netloc:
                # counters, registries, what a card points at; where the hub itself sends on to is followed
                raise HubError("choice", f"{request.url.host} is not the hub, and is not asked")
            patience = self.patience if self.answered else CONTACT
            request.extensions = {
                **request.extensions,
                "timeout": waits | {"read": min(SILENCE, patience)},
                "trace": self._watch,
            }
            asked = 0.0
            try:
                response = send(request, **options)
                self.answered = True
                problem, asked = self._problem(request, response, options.get("stream", False))
                if problem is None:
                    return response
            except httpx2.TransportError as error:
                if self._closed.is_set():
                    raise DownloadStoppedError from None
                problem = _transport(error)
                if not self.answered and not isinstance(error, httpx2.ReadTimeout):
                    raise problem from None
            wait = min(max(pause, asked), LONGEST_PAUSE)
            if time.monotonic() - started + wait > patience:
                raise problem
            self._closed.wait(wait)
            pause = min(pause * 2, PAUSE * 8)

    def _watch(self, event: str, info: dict[str, Any]) -> None:
        """Remember the sockets: only a shutdown wakes a thread that reads from one."""
        if event in ("connection.connect_tcp.complete", "connection.start_tls.complete"):
            found = info["return_value"].get_extra_info("socket")
            if isinstance(found, socket.socket):
                self._sockets.add(found)

    def _problem(self, request: Any, response: Any, stream: bool) -> tuple[HubError | None, float]:
        """What is wrong with an answer, if trying again may help, and for how long the hub wants to be left alone."""
        status = response.status_code
        if status == 429 or status in (408, 500, 502, 503, 504):
            response.close()
            after = response.headers.get("retry-after", "")
            asked = float(after) if after.isdigit() else 0.0
            if status == 429:
                what = "the hub allows no more requests for now (error 429)"
                return HubError("limited", what, todo=f"log in with `hf auth login` for a higher limit; {LATER}"), asked
            return HubError("failing", f"the hub answers with error {status}", todo=LATER), asked
        wanted = _RANGE.match(request.headers.get("range", ""))
        if status not in (200, 206) or wanted is None or stream:
            return None, 0.0
        first, last = int(wanted[1]), int(wanted[2])
        part = _PART.match(response.headers.get("content-range", ""))
        name = unquote(request.url.path).partition("/resolve/")[2]
        if part is None:
            return _wrong(name, "the hub sends the whole of it where a part was asked for"), 0.0
        size = self.sizes.get(name)
        if size is not None and int(part[3]) != size:
            return _wrong(name, f"it has {int(part[3]):,} bytes where the hub's listing says {size:,}"), 0.0
        length = len(response.content)
        if (int(part[1]), int(part[2])) != (first, last) or length != last - first + 1:
            return _wrong(name, f"{length:,} bytes came where {last - first + 1:,} were asked for"), 0.0
        self.received += length
        return None, 0.0


def _wrong(name: str, why: str) -> HubError:
    return HubError("failing", f"{name.partition('/')[2]}: {why}", todo=LATER)


def _transport(error: Exception) -> HubError:
    """A connection that could not be made, or broke, or fell silent."""
    import httpx2

    if isinstance(error, httpx2.ConnectError | httpx2.ConnectTimeout | httpx2.ProxyError | httpx2.UnsupportedProtocol):
        return offline(_ERRNO.sub("", str(error)) or "no answer to the attempt to connect")
    if isinstance(error, httpx2.TimeoutException):
        return HubError("failing", "the hub has fallen silent", todo=LATER)
    return HubError("failing", f"the connection to the hub broke ({error})", todo=LATER)
