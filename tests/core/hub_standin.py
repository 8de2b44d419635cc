"""A stand-in of the Hugging Face hub on loopback, with every fault a hub can have.

Driven by the real `datasets` and `huggingface_hub`, which ask for (seen with datasets 5.2, huggingface_hub 2.4):

    GET   /api/datasets/NAME[/revision/REVISION]     what it is: commit, files and, with ?blobs=true, their sizes
    GET   /api/datasets/NAME/tree/REVISION[/FOLDER]  what is in a folder
    POST  /api/datasets/NAME/paths-info/REVISION     sizes of the paths in the body
    HEAD  /datasets/NAME/resolve/REVISION/PATH       commit and size of a file
    GET   the same, with Range                       its bytes

The same without `datasets/`, or with `models/`, for a model; a name means one repository here, whatever its kind.
Files that the hub keeps in Xet storage are only fetched from there when a header says so; this one never does.
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

FaultKind = Literal["status", "stall", "drop", "short", "longer", "no_range", "garbage"]


@dataclass
class Fault:
    """What goes wrong with the requests whose "METHOD /path" matches `where`, `times` times."""

    where: str
    kind: FaultKind
    status: int = 503
    times: float = float("inf")
    after: int = 0
    """Matching requests that are answered well before the first fault."""
    headers: dict[str, str] = field(default_factory=dict)


class HubStandIn:
    """A hub on 127.0.0.1. Use as a context manager; `endpoint` is what HF_ENDPOINT has to be.

    Faults: status (an error instead of an answer), stall (the connection is accepted, then silence), drop (half of
    a body, then the connection is gone), short (a body that ends early, its length announced as if that were
    all), longer (a file with more bytes than the hub's listing says), no_range (the whole file whatever part was
    asked for), garbage (as many bytes, but others).
    """

    def __init__(self) -> None:
        self.commits: dict[tuple[str, str], Path] = {}
        self.branches: dict[tuple[str, str], str] = {}
        self.gated: dict[str, str] = {}
        """Token that opens each gated repository."""
        self.elsewhere = False
        """Whether data files lie at a second host, to which requests for them are sent on, as on the real hub."""
        self.faults: list[Fault] = []
        self.requests: list[str] = []
        """METHOD /path of every request so far."""
        self.ranges: list[tuple[str, int, int]] = []
        """Path of a file, first byte and number of bytes of every body sent."""
        self.authorizations: set[tuple[str, str]] = set()
        """Host and header of every request that carried a token."""
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
        """Serve the files in `folder` as a commit of `repository`, which `revision` names from now on; its hash."""
        listing = [(name, path.stat().st_size, path.stat().st_mtime_ns) for name, path in _files(folder)]
        commit = hashlib.sha1(json.dumps([repository, revision, listing]).encode()).hexdigest()
        self.commits[repository, commit] = folder
        self.branches[repository, revision] = commit
        return commit

    def fail(self, where: str, kind: FaultKind, **more: Any) -> None:
        """Add a fault; see `Fault`."""
        self.faults.append(Fault(where, kind, **more))

    def count(self, pattern: str) -> int:
        """Requests so far that match a regular expression."""
        return sum(1 for request in self.requests if re.search(pattern, request))

    def sent(self, pattern: str) -> int:
        """Bytes of files so far whose path matches."""
        return sum(length for path, _, length in self.ranges if re.search(pattern, path))

    def fault(self, request: str) -> Fault | None:
        """The fault that hits this request, counted."""
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
    """An endpoint at which nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{taken.getsockname()[1]}"


def environment(endpoint: str, home: Path) -> dict[str, str]:
    """What a process needs to take `endpoint` for the hub, and to keep its cache in `home`."""
    return {"HF_ENDPOINT": endpoint, "HF_HOME": str(home), "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}


def use(endpoint: str, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make this process take `endpoint` for the hub, whether or not the libraries are imported already."""
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


def _files(folder: Path) -> list[tuple[str, Path]]:
    return sorted((path.relative_to(folder).as_posix(), path) for path in folder.rglob("*") if path.is_file())


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
            self._answer(fault.status, json.dumps({"error": "made up"}).encode(), fault.headers)
        elif found := re.fullmatch(
            r"/api/(?:datasets|models)/([^/]+/[^/]+)(?:/(revision|tree|paths-info)/(.+))?", path
        ):
            self._api(found[1], found[2] or "revision", found[3] or "main", parse_qs(url.query), body)
        elif found := re.fullmatch(r"(?:/datasets)?/([^/]+/[^/]+)/resolve/(refs/[^/]+/[^/]+|[^/]+)/(.+)", path):
            self._file(found[1], found[2], found[3], fault)
        elif found := re.fullmatch(r"/store/([^/]+/[^/]+)/([^/]+)/(.+)", path):
            self._file(found[1], found[2], found[3], fault, stored=True)
        else:
            self._refuse(404, "RepoNotFound")

    def _commit(self, repository: str, revision: str, stored: bool = False) -> str | None:
        """The commit that is meant; None after an error was sent."""
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
        found = re.fullmatch(r"(refs/[^/]+/[^/]+|[^/]+)(?:/(.*))?", rest)
        assert found is not None
        commit = self._commit(repository, found[1])
        if commit is None:
            return
        files = _files(self.hub.commits[repository, commit])
        if what == "revision":
            siblings = [{"rfilename": name} | (_blob(name, path) if "blobs" in query else {}) for name, path in files]
            answer: Any = {
                "id": repository, "sha": commit, "private": False, "gated": False, "disabled": False,
                "downloads": 0, "likes": 0, "tags": [], "siblings": siblings,
            }  # fmt: skip
        elif what == "tree":
            folder = (found[2] or "").strip("/")
            answer = _tree(files, folder, recursive="true" in query.get("recursive", []))
            if folder and not answer:
                self._refuse(404, "EntryNotFound")
                return
        else:
            asked = json.loads(body)["paths"] if body[:1] == b"{" else parse_qs(body.decode()).get("paths", [])
            every = _tree(files, "", recursive=True)
            answer = [entry for entry in every if entry["path"] in {path.strip("/") for path in asked}]
        self._answer(200, json.dumps(answer).encode(), {"Content-Type": "application/json"})

    def _file(self, repository: str, revision: str, name: str, fault: Fault | None, stored: bool = False) -> None:
        commit = self._commit(repository, revision, stored)
        if commit is None:
            return
        path = self.hub.commits[repository, commit] / name
        if not path.is_file():
            self._refuse(404, "EntryNotFound", {"X-Repo-Commit": commit})
            return
        if self.hub.elsewhere and self.command == "GET" and not stored:
            port = self.headers["Host"].partition(":")[2]
            there = f"http://localhost:{port}/store/{repository}/{commit}/{name}?Signature=secret"
            self._answer(302, b"", {"Location": there})
            return
        kind = fault.kind if fault else ""
        size = path.stat().st_size
        announced = size + 1000 if kind == "longer" else size
        start, end, status = 0, announced, 200
        headers = {"X-Repo-Commit": commit, "ETag": f'"{_etag(path)}"', "Accept-Ranges": "bytes"}
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or "")
        if asked and kind != "no_range":
            start, status = int(asked[1]), 206
            end = min(announced, int(asked[2]) + 1 if asked[2] else announced)
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
        more = {"X-Error-Code": code, "X-Error-Message": f"made up: {code}"} | (headers or {})
        self._answer(status, json.dumps({"error": code}).encode(), more)

    def _answer(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


def _tree(files: list[tuple[str, Path]], folder: str, *, recursive: bool) -> list[dict[str, Any]]:
    entries: dict[str, dict[str, Any]] = {}
    prefix = f"{folder}/" if folder else ""
    for name, path in files:
        if not name.startswith(prefix):
            continue
        steps = name[len(prefix) :].split("/")
        for depth in range(1, len(steps) if recursive else min(2, len(steps))):
            above = prefix + "/".join(steps[:depth])
            entries[above] = {"type": "directory", "oid": _oid(above), "size": 0, "path": above}
        if recursive or len(steps) == 1:
            entries[name] = {"type": "file", "oid": _oid(name), "size": path.stat().st_size, "path": name}
    return [entries[name] for name in sorted(entries)]


def _blob(name: str, path: Path) -> dict[str, Any]:
    """Size of a file, and its digest where the real hub would keep it outside of git."""
    size = path.stat().st_size
    if not name.endswith(".safetensors"):
        return {"size": size}
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return {"size": size, "lfs": {"sha256": digest, "size": size, "pointerSize": 134}}


def _oid(name: str) -> str:
    return hashlib.sha1(name.encode()).hexdigest()


def _etag(path: Path) -> str:
    return hashlib.sha1(f"{path}{path.stat().st_size}{path.stat().st_mtime_ns}".encode()).hexdigest()


if __name__ == "__main__":
    import sys

    # python -m tests.core.hub_standin NAME FOLDER [REVISION]: serve a folder until interrupted
    with HubStandIn() as served:
        served.add(*(sys.argv[1], Path(sys.argv[2])), *sys.argv[3:])
        print(served.endpoint, flush=True)
        while True:
            time.sleep(3600)
