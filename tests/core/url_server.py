"""A local HTTP server whose responses a test scripts."""

from __future__ import annotations

import http.server
import socket
from collections.abc import Callable
from typing import Any

from core.download.fetch import RetryPolicy
from core.storage.artifact import Artifact
from core.storage.documents import read_parts

TEXT = "".join(f"line {n} of the file on the server\n" for n in range(30_000)).encode()

QUICK = RetryPolicy(connect=2, read=0.5, attempts=3, backoff=0.01, max_retry_after=1)

Responder = Callable[["RequestHandler"], None]


class RequestHandler(http.server.BaseHTTPRequestHandler):
    """Responds with the functions of `Server.script` in turn; the last of them responds to all further requests."""

    server: Server

    def do_GET(self) -> None:
        self.server.seen.append((self.path, dict(self.headers)))
        script = self.server.script
        (script.pop(0) if len(script) > 1 else script[0])(self)

    def log_message(self, *_: object) -> None:
        pass

    def head(self, status: int, length: int | None = None, **headers: str) -> None:
        self.send_response(status)
        if length is not None:
            self.send_header("Content-Length", str(length))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), RequestHandler)
        self.script: list[Responder] = [serve()]
        self.seen: list[tuple[str, dict[str, str]]] = []

    def url(self, path: str = "/file.txt") -> str:
        return f"http://127.0.0.1:{self.server_port}{path}"

    def handle_error(self, *_: Any) -> None:
        pass


def serve(data: bytes = TEXT, tag: str = '"1"', **headers: str) -> Responder:
    """Serve `data`, also in ranges."""

    def handle(request: RequestHandler) -> None:
        requested = request.headers.get("Range", "")
        if requested and request.headers.get("If-Range") == tag:
            start = int(requested.removeprefix("bytes=").rstrip("-"))
            content_range = f"bytes {start}-{len(data) - 1}/{len(data)}"
            request.head(206, len(data) - start, ETag=tag, Content_Range=content_range, **headers)
            request.wfile.write(data[start:])
        else:
            request.head(200, len(data), **({"ETag": tag} if tag else {}), **headers)
            request.wfile.write(data)

    return handle


def drop_after(sent: int, tag: str = '"1"', data: bytes = TEXT) -> Responder:
    """Close the connection after `sent` bytes of the body."""

    def handle(request: RequestHandler) -> None:
        requested = request.headers.get("Range", "")
        start = (
            int(requested.removeprefix("bytes=").rstrip("-"))
            if requested and request.headers.get("If-Range") == tag
            else 0
        )
        if start:
            request.head(206, len(data) - start, ETag=tag, Content_Range=f"bytes {start}-{len(data) - 1}/{len(data)}")
        else:
            request.head(200, len(data), **({"ETag": tag} if tag else {}))
        request.wfile.write(data[start : start + sent])
        request.wfile.flush()
        request.connection.shutdown(socket.SHUT_RDWR)

    return handle


def respond(status: int, **headers: str) -> Responder:
    return lambda request: request.head(status, 0, **headers)


def text_of(artifact: Artifact) -> str:
    """The text of all documents of an artifact."""
    return "".join(part.text for part in read_parts(artifact.files("documents-*.parquet")))


def ranges(server: Server) -> list[str]:
    """The Range header of each request."""
    return [headers.get("Range", "") for _, headers in server.seen]
