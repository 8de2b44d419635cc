"""A server on loopback that does what a script says, to be asked for a file."""

from __future__ import annotations

import http.server
import socket
from collections.abc import Callable
from typing import Any

TEXT = "".join(f"line {n} of the file on the server\n" for n in range(30_000)).encode()

Answer = Callable[["Asked"], None]


class Asked(http.server.BaseHTTPRequestHandler):
    """Answers by the server's script: one function a request, the last of them for all that follow."""

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
        super().__init__(("127.0.0.1", 0), Asked)
        self.script: list[Answer] = [whole()]
        self.seen: list[tuple[str, dict[str, str]]] = []

    def url(self, path: str = "/file.txt") -> str:
        return f"http://127.0.0.1:{self.server_port}{path}"

    def handle_error(self, *_: Any) -> None:
        pass


def whole(data: bytes = TEXT, tag: str = '"1"', **headers: str) -> Answer:
    """A server that does everything right."""

    def answer(asked: Asked) -> None:
        wanted = asked.headers.get("Range", "")
        if wanted and asked.headers.get("If-Range") == tag:
            start = int(wanted.removeprefix("bytes=").rstrip("-"))
            place = f"bytes {start}-{len(data) - 1}/{len(data)}"
            asked.head(206, len(data) - start, ETag=tag, Content_Range=place, **headers)
            asked.wfile.write(data[start:])
        else:
            asked.head(200, len(data), **({"ETag": tag} if tag else {}), **headers)
            asked.wfile.write(data)

    return answer


def broken(sent: int, tag: str = '"1"', data: bytes = TEXT) -> Answer:
    """Drops the connection after so many bytes of what it promised."""

    def answer(asked: Asked) -> None:
        wanted = asked.headers.get("Range", "")
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and asked.headers.get("If-Range") == tag else 0
        if start:
            asked.head(206, len(data) - start, ETag=tag, Content_Range=f"bytes {start}-{len(data) - 1}/{len(data)}")
        else:
            asked.head(200, len(data), **({"ETag": tag} if tag else {}))
        asked.wfile.write(data[start : start + sent])
        asked.wfile.flush()
        asked.connection.shutdown(socket.SHUT_RDWR)

    return answer


def says(status: int, **headers: str) -> Answer:
    return lambda asked: asked.head(status, 0, **headers)
