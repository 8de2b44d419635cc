"""A local server with the API of the Hugging Face hub, with faults on demand.

Requests of `datasets` 5.2 and `huggingface_hub` 2.4:

    GET   /api/datasets/NAME[/revision/REVISION]     commit, files and, with ?blobs=true, their sizes
    GET   /api/datasets/NAME/tree/REVISION[/FOLDER]  entries of a folder
    POST  /api/datasets/NAME/paths-info/REVISION     sizes of the paths in the body
    HEAD  /datasets/NAME/resolve/REVISION/PATH       commit and size of a file
    GET   the same, with Range                       its bytes

Models have the same paths without `datasets/`, or with `models/`; here a name is one repository of either kind. The
header that announces Xet storage is never sent.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar, Literal
from urllib.parse import parse_qs, unquote, urlsplit

import pytest

from tests.core.hub_listing import etag_of, file_info, list_files, tree_entries

FaultKind = Literal["status", "stall", "drop", "short", "longer", "no_range", "garbage"]


@dataclass
class Fault:
    """A fault of the requests whose "METHOD /path" matches `where`, `times` times."""

    where: str
    kind: FaultKind
    status: int = 503
    times: float = float("inf")
    after: int = 0
    """Matching requests that succeed before the first fault."""
    headers: dict[str, str] = field(default_factory=dict)


class HubStandIn:
    """A hub on 127.0.0.1, as a context manager. `endpoint` is the value for HF_ENDPOINT.

    Faults: status (an error status), stall (no response), drop (the connection closes after half of the body), short
    (half of the range, with a matching Content-Length), longer (more bytes than in the listing), no_range (the whole
    file for any range), garbage (zero bytes of the same number).
    """

    def __init__(self) -> None:
        self.commits: dict[tuple[str, str], Path] = {}
        self.branches: dict[tuple[str, str], str] = {}
        self.gated: dict[str, str] = {}
        """Token of each gated repository."""
        self.redirects_files = False
        """Whether requests for files are redirected to a second host, as by the real hub."""
        self.faults: list[Fault] = []
        self.requests: list[str] = []
        """METHOD /path of each request."""
        self.ranges: list[tuple[str, int, int]] = []
        """Path, first byte and number of bytes of each body of a file."""
        self.authorizations: set[tuple[str, str]] = set()
        """Host and Authorization header of each request with a token."""
        self.closing = threading.Event()
        self.lock = threading.Lock()
        self._server: ThreadingHTTPServer | None = None

    def __enter__(self) -> HubStandIn:
        handler = type("Handler", (_Handler,), {"hub": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        assert self._server is not None
        self.closing.set()
        self._server.shutdown()
        self._server.server_close()

    @property
    def endpoint(self) -> str:
        assert self._server is not None
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def add(self, repository: str, folder: Path, revision: str = "main") -> str:
        """Serve the files in `folder` as a new commit of `repository`, move `revision` to it, and return its hash."""
        listing = [(name, path.stat().st_size, path.stat().st_mtime_ns) for name, path in list_files(folder)]
        commit = hashlib.sha1(json.dumps([repository, revision, listing]).encode()).hexdigest()
        self.commits[repository, commit] = folder
        self.branches[repository, revision] = commit
        return commit

    def fail(self, where: str, kind: FaultKind, **more: Any) -> None:
        """Add a fault; see `Fault`."""
        self.faults.append(Fault(where, kind, **more))

    def count(self, pattern: str) -> int:
        """Number of requests that match a regular expression."""
        return sum(1 for request in self.requests if re.search(pattern, request))

    def sent(self, pattern: str) -> int:
        """Bytes sent of files whose path matches."""
        return sum(length for path, _, length in self.ranges if re.search(pattern, path))

    def fault(self, request: str) -> Fault | None:
        """Record a request and return its fault, if it has one."""
        with self.lock:
            self.requests.append(request)
            for fault in self.faults:
                if not re.search(fault.where, request) or fault.times <= 0:
                    continue
                if fault.after > 0:
                    fault.after -= 1
                    continue
                fault.times -= 1
                return fault
        return None


@contextlib.contextmanager
def closed_port() -> Iterator[str]:
    """An endpoint without a server."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{taken.getsockname()[1]}"


def environment(endpoint: str, home: Path) -> dict[str, str]:
    """Environment variables that make a process use `endpoint` as the hub and `home` for its cache."""
    return {"HF_ENDPOINT": endpoint, "HF_HOME": str(home), "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}


def use(endpoint: str, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make this process use `endpoint` as the hub, whether or not the libraries are imported already."""
    for name, value in environment(endpoint, home).items():
        monkeypatch.setenv(name, value)
    for name in ("HF_TOKEN", "HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "HUGGING_FACE_HUB_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    import datasets.config
    import huggingface_hub.constants as constants

    monkeypatch.setattr(constants, "ENDPOINT", endpoint)
    template = endpoint + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(home / "hub"))
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(home / "token"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(datasets.config, "HF_ENDPOINT", endpoint)
    monkeypatch.setattr(datasets.config, "HUB_DATASETS_URL", endpoint + "/datasets/{repo_id}/resolve/{revision}/{path}")
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", False)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    hub: ClassVar[HubStandIn]

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        self._serve()

    do_HEAD = do_POST = do_GET

    def _serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        url = urlsplit(self.path)
        path = unquote(url.path)
        fault = self.hub.fault(f"{self.command} {path}")
        if authorization := self.headers.get("Authorization"):
            self.hub.authorizations.add((self.headers["Host"].partition(":")[0], authorization))
        if fault and fault.kind == "stall":
            self.hub.closing.wait()
            self.close_connection = True
        elif fault and fault.kind == "status":
            self._respond(fault.status, json.dumps({"error": "injected"}).encode(), fault.headers)
        elif match := re.fullmatch(
            r"/api/(?:datasets|models)/([^/]+/[^/]+)(?:/(revision|tree|paths-info)/(.+))?", path
        ):
            self._api(match[1], match[2] or "revision", match[3] or "main", parse_qs(url.query), body)
        elif match := re.fullmatch(r"(?:/datasets)?/([^/]+/[^/]+)/resolve/(refs/[^/]+/[^/]+|[^/]+)/(.+)", path):
            self._file(match[1], match[2], match[3], fault)
        elif match := re.fullmatch(r"/store/([^/]+/[^/]+)/([^/]+)/(.+)", path):
            self._file(match[1], match[2], match[3], fault, stored=True)
        else:
            self._refuse(404, "RepoNotFound")

    def _commit(self, repository: str, revision: str, stored: bool = False) -> str | None:
        """The commit of a revision; None after an error was sent."""
        hub = self.hub
        if stored:
            return revision
        if not any(name == repository for name, _ in hub.branches):
            self._refuse(401, "RepoNotFound")
        elif repository in hub.gated and self.headers.get("Authorization") != f"Bearer {hub.gated[repository]}":
            self._refuse(403 if self.headers.get("Authorization") else 401, "GatedRepo")
        elif (repository, revision) in hub.commits:
            return revision
        elif (repository, revision) in hub.branches:
            return hub.branches[repository, revision]
        else:
            self._refuse(404, "RevisionNotFound")
        return None

    def _api(self, repository: str, what: str, rest: str, query: dict[str, list[str]], body: bytes) -> None:
        match = re.fullmatch(r"(refs/[^/]+/[^/]+|[^/]+)(?:/(.*))?", rest)
        assert match is not None
        commit = self._commit(repository, match[1])
        if commit is None:
            return
        files = list_files(self.hub.commits[repository, commit])
        if what == "revision":
            siblings = [
                {"rfilename": name} | (file_info(name, path) if "blobs" in query else {}) for name, path in files
            ]
            content: Any = {
                "id": repository, "sha": commit, "private": False, "gated": False, "disabled": False,
                "downloads": 0, "likes": 0, "tags": [], "siblings": siblings,
            }  # fmt: skip
        elif what == "tree":
            folder = (match[2] or "").strip("/")
            content = tree_entries(files, folder, recursive="true" in query.get("recursive", []))
            if folder and not content:
                self._refuse(404, "EntryNotFound")
                return
        else:
            paths = json.loads(body)["paths"] if body[:1] == b"{" else parse_qs(body.decode()).get("paths", [])
            entries = tree_entries(files, "", recursive=True)
            content = [entry for entry in entries if entry["path"] in {path.strip("/") for path in paths}]
        self._respond(200, json.dumps(content).encode(), {"Content-Type": "application/json"})

    def _file(self, repository: str, revision: str, name: str, fault: Fault | None, stored: bool = False) -> None:
        commit = self._commit(repository, revision, stored)
        if commit is None:
            return
        path = self.hub.commits[repository, commit] / name
        if not path.is_file():
            self._refuse(404, "EntryNotFound", {"X-Repo-Commit": commit})
            return
        if self.hub.redirects_files and self.command == "GET" and not stored:
            port = self.headers["Host"].partition(":")[2]
            location = f"http://localhost:{port}/store/{repository}/{commit}/{name}?Signature=secret"
            self._respond(302, b"", {"Location": location})
            return
        kind = fault.kind if fault else ""
        size = path.stat().st_size
        announced = size + 1000 if kind == "longer" else size
        start, end, status = 0, announced, 200
        headers = {"X-Repo-Commit": commit, "ETag": f'"{etag_of(path)}"', "Accept-Ranges": "bytes"}
        requested = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or "")
        if requested and kind != "no_range":
            start, status = int(requested[1]), 206
            end = min(announced, int(requested[2]) + 1 if requested[2] else announced)
            if start >= announced:
                self._refuse(416, "InvalidRange")
                return
            if kind == "short":
                end = start + (end - start) // 2
            headers["Content-Range"] = f"bytes {start}-{end - 1}/{announced}"
        elif kind == "short":
            end = announced // 2
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(end - start))
        self.end_headers()
        if self.command == "HEAD":
            return
        length = end - start
        if kind == "drop":
            length //= 2
            self.close_connection = True
        with self.hub.lock:
            self.hub.ranges.append((name, start, length))
        self.wfile.flush()
        with contextlib.suppress(OSError), path.open("rb") as file:
            if kind == "garbage":
                self.connection.sendall(bytes(length))
            elif kind == "longer":
                file.seek(start)
                self.connection.sendall(file.read(length).ljust(length, b"x"))
            else:
                self.connection.sendfile(file, start, length)

    def _refuse(self, status: int, code: str, headers: dict[str, str] | None = None) -> None:
        more = {"X-Error-Code": code, "X-Error-Message": f"injected: {code}"} | (headers or {})
        self._respond(status, json.dumps({"error": code}).encode(), more)

    def _respond(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


if __name__ == "__main__":
    import sys

    # python -m tests.core.hub_standin NAME FOLDER [REVISION]: serve a folder until interrupted
    with HubStandIn() as served:
        served.add(*(sys.argv[1], Path(sys.argv[2])), *sys.argv[3:])
        print(served.endpoint, flush=True)
        while True:
            time.sleep(3600)
