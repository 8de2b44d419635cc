"""A file from a server, fetched so that no byte has to come twice."""

from __future__ import annotations

import contextlib
import email.utils
import os
import queue
import re
import threading
import time
from collections.abc import Generator, Iterator, Mapping
from io import FileIO
from pathlib import Path, PurePosixPath
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

import msgspec
import urllib3
from msgspec import Struct
from urllib3 import exceptions as problems

from core.download.formats import name_for
from core.download.ssrf import Client, UnreachableError
from core.events import Event
from core.parsing import ParseError, read_json
from core.processes.progress import PROGRESS_INTERVAL, ProgressMeter
from core.sources.catalog import redact_url
from core.storage.artifact import UNFINISHED, fingerprint
from core.storage.files import write_atomic
from core.storage.workspace import free_bytes

_CHUNK = 2**18
_SYNC_BYTES = 32 * 2**20
"""What a power cut may cost; a killed process loses no more."""
_SYNC_SECONDS = 2.0
_SHARE_OF_DISK = 3
"""A file may take a third of what is free: documents, clean documents and tokens each take about as much again."""


class Patience(NamedTuple):
    """How long a server is waited for, in seconds."""

    connect: float = 10.0
    stall: float = 60.0
    tries: int = 5
    """In a row without a byte more than before."""
    pause: float = 1.0
    """Before the second try; doubles with each."""
    longest: float = 120.0
    """What a server may ask us to wait."""


PATIENCE = Patience()


class _Known(Struct, kw_only=True):
    """What is known about the file that lies here, in part or whole."""

    url: str
    """Fingerprint: a query may be as good as a password."""
    shown: str
    name: str = ""
    validator: str = ""
    """The server's mark of this version of the file; without one, what broke off cannot go on."""
    length: int | None = None
    kept: int = 0
    """Bytes that are safely on the disk."""
    whole: bool = False


class Fetched(NamedTuple):
    path: Path
    name: str
    """What the file is called, with the suffixes that tell its format."""
    size: int


class _Again(Exception):
    """The server could not answer this time."""

    def __init__(self, why: str, wait: float | None = None, *, hopeless: bool = False) -> None:
        super().__init__(why)
        self.wait = wait
        self.hopeless = hopeless
        """Asking again helps only where an answer came before."""


class _Head(NamedTuple):
    status: int
    headers: Mapping[str, str]


def fetch(url: str, folder: Path, patience: Patience | None = None) -> Generator[Event, None, Fetched]:
    """Fetch `url` into `folder`, going on where an earlier attempt broke off, yielding Progress meanwhile.

    The file and what is known about it have names that begin with "partial-". Raises UnreachableError, OSError.
    """
    return (yield from _Fetch(url, folder, patience or PATIENCE).run())


class _Fetch:
    def __init__(self, url: str, folder: Path, patience: Patience) -> None:
        self._url, self._shown, self._patience = url, redact_url(url), patience
        self._path = folder / f"{UNFINISHED}source"
        self._notes = folder / f"{UNFINISHED}source.json"
        self._known = self._recall()
        self._meter = ProgressMeter(None)
        self._synced = time.monotonic()
        self._answered = False
        self._begun = False
        """Whether what is in the file is of the version that is being fetched."""

    def run(self) -> Generator[Event, None, Fetched]:
        failed = most = 0
        client = Client(self._patience.connect, self._patience.stall)
        while not self._known.whole:
            try:
                yield from self._attempt(client)
            except _Again as error:
                failed = 0 if self._known.kept > most else failed + 1
                most = max(most, self._known.kept)
                wait = self._patience.pause * 2**failed if error.wait is None else error.wait
                given_up = failed >= self._patience.tries or wait > self._patience.longest
                if given_up or (error.hopeless and not self._answered):
                    asked = f", and asks to wait {error.wait:,.0f} s" if error.wait is not None else ""
                    came = f", after {most:,} of {self._known.length:,} bytes" if self._known.length else ""
                    what = f"{error}{asked}{came}"
                    raise UnreachableError(
                        what,
                        where=self._shown,
                        kept=self._kept(),
                        todo="resume when it answers: it goes on there" if self._kept() else "try again later",
                    ) from None
                yield from self._rest(wait)
        return Fetched(self._path, self._known.name, self._path.stat().st_size)

    def _recall(self) -> _Known:
        """What an earlier attempt left here, if it is of the same URL."""
        fresh = _Known(url=fingerprint(self._url), shown=self._shown)
        try:
            known = read_json(self._notes, _Known)
            size = self._path.stat().st_size
        except (OSError, ParseError):
            return fresh
        good = known.url == fresh.url and size >= known.kept and (not known.whole or size == known.kept)
        return known if good else fresh

    def _attempt(self, client: Client) -> Generator[Event, None, None]:
        """One request. Raises _Again, UnreachableError."""
        start = self._known.kept if self._known.validator else 0
        headers = {"Range": f"bytes={start}-", "If-Range": self._known.validator} if start else {}
        with contextlib.closing(_answers(client, self._url, headers)) as answers, self._open() as file:
            for item in answers:
                if isinstance(item, _Head):
                    self._answered = True
                    start = self._begin(item, start)
                    file.truncate(start)
                    file.seek(start)
                    self._begun = True
                    self._sync(file)  # before bytes of another version lie under the old one's mark
                    self._meter.total, self._meter.done = self._known.length, start
                elif item:
                    self._check_space(file.tell() + len(item))
                    rest = memoryview(item)
                    while rest:
                        rest = rest[file.write(rest) :]
                    if time.monotonic() - self._synced > _SYNC_SECONDS or file.tell() - self._known.kept > _SYNC_BYTES:
                        self._sync(file)
                    yield from self._meter.advance_to(file.tell())
                else:
                    yield from self._meter.advance(0)
            self._sync(file)
            if self._known.length is not None and self._known.kept != self._known.length:
                raise _Again("the server sent another number of bytes than it said")
            self._known.whole = True
            self._sync(file)
        yield self._meter.report()

    @contextlib.contextmanager
    def _open(self) -> Iterator[FileIO]:
        """The file, whose content is kept however this ends."""
        fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        # no buffer: on a full disk it would hold back what cannot be counted
        with FileIO(fd, "r+") as file:
            self._begun = False
            try:
                yield file
            except BaseException:
                if self._begun:
                    with contextlib.suppress(OSError):  # a full disk: what was safe before still is
                        self._sync(file)
                raise

    def _sync(self, file: FileIO) -> None:
        """Make what has come so far survive a power cut, and say how much it is."""
        os.fsync(file.fileno())
        self._known.kept, self._synced = file.tell(), time.monotonic()
        write_atomic(self._notes, msgspec.json.encode(self._known))

    def _begin(self, head: _Head, start: int) -> int:
        """Where in the file the body belongs. Raises UnreachableError, _Again."""
        if head.status == 206 and start:
            came = re.match(r"bytes (\d+)-\d+/(\d+|\*)", head.headers.get("Content-Range", ""))
            if came and int(came[1]) == start and came[2] in ("*", str(self._known.length)):
                return start
        if head.status in (206, 416):
            self._known.kept, self._known.validator = 0, ""
            raise _Again("the server does not go on where it broke off")
        if head.status != 200:
            self._refuse(head)
        length = head.headers.get("Content-Length", "")
        tag = head.headers.get("ETag", "")
        parts = urlsplit(self._url)
        name = unquote(PurePosixPath(parts.path).name) or parts.hostname or "file"
        self._known = _Known(
            url=self._known.url,
            shown=self._shown,
            name=name_for(
                "".join(c for c in name if c not in "/\0"),
                head.headers.get("Content-Type", ""),
                head.headers.get("Content-Encoding", ""),
            ),
            validator=head.headers.get("Last-Modified", "") if not tag or tag.startswith("W/") else tag,
            length=int(length) if length.isascii() and length.isdigit() else None,
        )
        self._check_space(self._known.length or 0)
        return 0

    def _refuse(self, head: _Head) -> None:
        words = {
            401: "the server asks for a login",
            403: "the server does not let us have it",
            404: "there is no such file on the server",
            410: "the file is no longer on the server",
            429: "the server says there were too many requests",
            503: "the server is busy or out of service",
        }
        what = f"{words.get(head.status, 'the server answers with an error')} (status {head.status})"
        if head.status in (408, 425, 429) or head.status >= 500:
            raise _Again(what, _seconds(head.headers.get("Retry-After", "")))
        todo = (
            "fetch the file yourself and name its path as the source" if head.status in (401, 403) else "check the URL"
        )
        raise UnreachableError(what, where=self._shown, kept=self._kept(), todo=todo)

    def _check_space(self, length: int) -> None:
        free = free_bytes(self._path.parent) + (self._path.stat().st_size if self._path.exists() else 0)
        if length * _SHARE_OF_DISK > free:
            raise UnreachableError(
                f"the file has {'at least ' if self._known.length is None else ''}{length:,} bytes, "
                f"more than a third of the {free:,} bytes free, and every stage makes about as much of it",
                where=self._shown,
                todo="free some space, or set LLMTUI_HOME to another place",
            )

    def _kept(self) -> str:
        return f"the first {self._known.kept:,} bytes are kept" if self._known.kept and self._known.validator else ""

    def _rest(self, seconds: float) -> Iterator[Event]:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            time.sleep(min(0.1, seconds))
            yield from self._meter.advance(0)


def _seconds(said: str) -> float | None:
    """What a Retry-After asks for; None where it says nothing useful."""
    if said.isascii() and said.isdigit():
        return float(said)
    date = email.utils.parsedate_tz(said)
    return max(0.0, email.utils.mktime_tz(date) - time.time()) if date else None


def _answers(client: Client, url: str, headers: dict[str, str]) -> Generator[_Head | bytes, None, None]:
    """The head and the pieces of the answer, read in a thread; an empty piece when there is nothing new for a moment.

    Raises what `Client.get` raises, servers' failings as _Again.
    """
    waiting: queue.Queue[_Head | bytes | BaseException | None] = queue.Queue(maxsize=16)
    ended = threading.Event()

    def put(item: _Head | bytes | BaseException | None) -> None:
        while not ended.is_set():
            with contextlib.suppress(queue.Full):
                waiting.put(item, timeout=0.5)
                return

    def read() -> None:
        try:
            answer = client.get(url, headers)
            with contextlib.closing(answer):
                put(_Head(answer.status, answer.headers))
                while not ended.is_set() and (piece := _piece(answer)):
                    put(piece)
            put(None)
        except BaseException as error:
            put(error)

    # daemon: a server that stalls does not keep the process alive
    threading.Thread(target=read, daemon=True).start()
    try:
        while True:
            try:
                item = waiting.get(timeout=max(PROGRESS_INTERVAL, 0.02))
            except queue.Empty:
                yield b""
                continue
            if item is None:
                return
            if isinstance(item, problems.HTTPError):
                raise _Again(_words(item), hopeless=isinstance(item, _HOPELESS)) from None
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        ended.set()


def _piece(answer: urllib3.BaseHTTPResponse) -> bytes:
    # not read: it would lose what came of a piece before the connection broke
    assert isinstance(answer, urllib3.HTTPResponse)
    return answer.read1(_CHUNK, decode_content=False)


_HOPELESS = (problems.ProxyError, problems.NewConnectionError, problems.SSLError)
"""No network, a mistyped name, a wrong certificate: what no waiting changes."""


def _words(error: problems.HTTPError) -> str:
    if isinstance(error, problems.ProxyError):
        return "the proxy that the environment names does not answer"
    if isinstance(error, problems.NameResolutionError):
        return "the server's name is not known; is there a network?"
    if isinstance(error, problems.NewConnectionError):
        return "nobody takes the connection"
    if isinstance(error, problems.ConnectTimeoutError):
        return "the server does not answer"
    if isinstance(error, problems.ReadTimeoutError):
        return "the server has stopped sending"
    if isinstance(error, problems.SSLError):
        return "the server cannot prove who it is (its certificate)"
    return "the connection broke"
