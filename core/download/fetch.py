"""Downloads one file by HTTP and resumes an interrupted download with a range request."""

from __future__ import annotations

import contextlib
import email.utils
import os
import re
import time
from collections.abc import Generator, Iterator, Mapping
from io import FileIO
from pathlib import Path, PurePosixPath
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

import msgspec
import urllib3
from msgspec import Struct
from urllib3 import exceptions

from core.download.formats import name_for
from core.download.ssrf import GuardedClient, UnreachableError
from core.events import Event
from core.parsing import ParseError, read_json
from core.plural import size_text
from core.processes.progress import ProgressMeter
from core.processes.threads import iterate_in_thread
from core.sources.catalog import redact_url
from core.storage.artifact import UNFINISHED, fingerprint
from core.storage.files import write_atomic
from core.storage.workspace import free_bytes

_CHUNK_BYTES = 2**18
_SYNC_BYTES = 32 * 2**20
"""What a power failure may cost; a killed process loses no more."""
_SYNC_SECONDS = 2.0
_DISK_DIVISOR = 3
"""A file may take a third of the free space: documents, clean documents and tokens each take about as much again."""


class RetryPolicy(NamedTuple):
    """Timeouts and retries, in seconds."""

    connect: float = 10.0
    read: float = 60.0
    """Longest time without a byte."""
    attempts: int = 5
    """Consecutive failures without progress after which the download fails."""
    backoff: float = 1.0
    """Wait before the first retry; doubles with each."""
    max_retry_after: float = 120.0
    """Longest wait that a server may ask for."""


RETRY_POLICY = RetryPolicy()


class _DownloadState(Struct, kw_only=True):
    """The partial file, as recorded beside it. The encoded names are those of earlier versions."""

    url: str
    """Fingerprint of the URL: its query may be a secret."""
    redacted_url: str = msgspec.field(name="shown")
    name: str = ""
    validator: str = ""
    """ETag or Last-Modified for If-Range; without one the download cannot be resumed."""
    length: int | None = None
    """Bytes of the whole file, if the server reports it."""
    synced: int = msgspec.field(name="kept", default=0)
    """Bytes flushed to the disk."""
    complete: bool = msgspec.field(name="whole", default=False)


class FetchedFile(NamedTuple):
    """A downloaded file."""

    path: Path
    name: str
    """File name from the URL, with suffixes that say the format."""
    size: int
    """Bytes."""


class _RetryError(Exception):
    """A request failed in a way that may pass."""

    def __init__(self, why: str, retry_after: float | None = None, *, permanent: bool = False) -> None:
        super().__init__(why)
        self.retry_after = retry_after
        """Seconds that the server asks to wait."""
        self.permanent = permanent
        """Whether a retry helps only if the server has responded before."""


class _Head(NamedTuple):
    """Status and headers of a response."""

    status: int
    headers: Mapping[str, str]


def fetch(url: str, folder: Path, policy: RetryPolicy | None = None) -> Generator[Event, None, FetchedFile]:
    """Download `url` into `folder`, resuming an earlier attempt, and yield Progress meanwhile.

    The names of the file and its record begin with "partial-". Raises UnreachableError, OSError.
    """
    return (yield from _Fetch(url, folder, policy or RETRY_POLICY).run())


class _Fetch:
    def __init__(self, url: str, folder: Path, policy: RetryPolicy) -> None:
        self._url, self._redacted_url, self._policy = url, redact_url(url), policy
        self._path = folder / f"{UNFINISHED}source"
        self._state_path = folder / f"{UNFINISHED}source.json"
        self._state = self._load_state()
        self._meter = ProgressMeter(None)
        self._synced_at = time.monotonic()
        self._responded = False
        self._started = False
        """Whether the content of the file belongs to the version that is being downloaded."""

    def run(self) -> Generator[Event, None, FetchedFile]:
        failures = most = 0
        client = GuardedClient(self._policy.connect, self._policy.read)
        while not self._state.complete:
            try:
                yield from self._attempt(client)
            except _RetryError as error:
                failures = 0 if self._state.synced > most else failures + 1
                most = max(most, self._state.synced)
                wait = self._policy.backoff * 2**failures if error.retry_after is None else error.retry_after
                exhausted = failures >= self._policy.attempts or wait > self._policy.max_retry_after
                if exhausted or (error.permanent and not self._responded):
                    delay = f", and asks to wait {error.retry_after:,.0f} s" if error.retry_after is not None else ""
                    received = (
                        f", after {size_text(most)} of {size_text(self._state.length)}" if self._state.length else ""
                    )
                    raise UnreachableError(
                        f"{error}{delay}{received}",
                        where=self._redacted_url,
                        kept=self._kept(),
                        todo="resume when it answers: it continues there" if self._kept() else "try again later",
                    ) from None
                yield from self._sleep(wait)
        return FetchedFile(self._path, self._state.name, self._path.stat().st_size)

    def _load_state(self) -> _DownloadState:
        """The state of an earlier attempt at the same URL, or a new one."""
        new = _DownloadState(url=fingerprint(self._url), redacted_url=self._redacted_url)
        try:
            state = read_json(self._state_path, _DownloadState)
            size = self._path.stat().st_size
        except (OSError, ParseError):
            return new
        valid = state.url == new.url and size >= state.synced and (not state.complete or size == state.synced)
        return state if valid else new

    def _attempt(self, client: GuardedClient) -> Generator[Event, None, None]:
        """Make one request and write its body. Raises _RetryError, UnreachableError."""
        start = self._state.synced if self._state.validator else 0
        headers = {"Range": f"bytes={start}-", "If-Range": self._state.validator} if start else {}
        # not joined: a server that stalls must not delay the end of the stage
        response = iterate_in_thread(_response(client, self._url, headers), prefetch=16, join_seconds=0)
        with contextlib.closing(response), self._open() as file:
            for item in response:
                if isinstance(item, _Head):
                    self._responded = True
                    start = self._handle_head(item, start)
                    file.truncate(start)
                    file.seek(start)
                    self._started = True
                    self._sync(file)  # before bytes of another version are recorded under the old validator
                    self._meter.total, self._meter.done = self._state.length, start
                elif item:
                    self._check_space(file.tell() + len(item))
                    rest = memoryview(item)
                    while rest:
                        rest = rest[file.write(rest) :]
                    unsynced = file.tell() - self._state.synced
                    if time.monotonic() - self._synced_at > _SYNC_SECONDS or unsynced > _SYNC_BYTES:
                        self._sync(file)
                    yield from self._meter.advance_to(file.tell())
                else:
                    yield from self._meter.advance(0)
            self._sync(file)
            if self._state.length is not None and self._state.synced != self._state.length:
                raise _RetryError("the server sent another number of bytes than Content-Length")
            self._state.complete = True
            self._sync(file)
        yield self._meter.report()

    @contextlib.contextmanager
    def _open(self) -> Iterator[FileIO]:
        """Open the file; its content is kept also after an exception."""
        fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        # unbuffered: on a full disk a buffer would hold bytes that were counted already
        with FileIO(fd, "r+") as file:
            self._started = False
            try:
                yield file
            except BaseException:
                if self._started:
                    with contextlib.suppress(OSError):  # full disk: what was synced before is still valid
                        self._sync(file)
                raise

    def _sync(self, file: FileIO) -> None:
        """Flush the file to the disk and record its length."""
        os.fsync(file.fileno())
        self._state.synced, self._synced_at = file.tell(), time.monotonic()
        write_atomic(self._state_path, msgspec.json.encode(self._state))

    def _handle_head(self, head: _Head, start: int) -> int:
        """The offset in the file at which the body begins. Raises UnreachableError, _RetryError."""
        if head.status == 206 and start:
            found = re.match(r"bytes (\d+)-\d+/(\d+|\*)", head.headers.get("Content-Range", ""))
            if found and int(found[1]) == start and found[2] in ("*", str(self._state.length)):
                return start
        if head.status in (206, 416):
            self._state.synced, self._state.validator = 0, ""
            raise _RetryError("the server does not continue where the download stopped")
        if head.status != 200:
            self._raise_for_status(head)
        length = head.headers.get("Content-Length", "")
        etag = head.headers.get("ETag", "")
        parts = urlsplit(self._url)
        name = unquote(PurePosixPath(parts.path).name) or parts.hostname or "file"
        self._state = _DownloadState(
            url=self._state.url,
            redacted_url=self._redacted_url,
            name=name_for(
                "".join(c for c in name if c not in "/\0"),
                head.headers.get("Content-Type", ""),
                head.headers.get("Content-Encoding", ""),
            ),
            # a weak ETag does not promise the same bytes
            validator=head.headers.get("Last-Modified", "") if not etag or etag.startswith("W/") else etag,
            length=int(length) if length.isascii() and length.isdigit() else None,
        )
        self._check_space(self._state.length or 0)
        return 0

    def _raise_for_status(self, head: _Head) -> None:
        messages = {
            401: "the server asks for a login",
            403: "the server does not let us have it",
            404: "there is no such file on the server",
            410: "the file is no longer on the server",
            429: "the server says there were too many requests",
            503: "the server is busy or out of service",
        }
        what = f"{messages.get(head.status, 'the server answers with an error')} (status {head.status})"
        if head.status in (408, 425, 429) or head.status >= 500:
            raise _RetryError(what, _parse_retry_after(head.headers.get("Retry-After", "")))
        todo = "download the file yourself and name its path as the source"
        todo = todo if head.status in (401, 403) else "check the URL"
        raise UnreachableError(what, where=self._redacted_url, kept=self._kept(), todo=todo)

    def _check_space(self, length: int) -> None:
        """Raise UnreachableError if `length` bytes of the file are too many for the disk."""
        free = free_bytes(self._path.parent) + (self._path.stat().st_size if self._path.exists() else 0)
        if length * _DISK_DIVISOR > free:
            raise UnreachableError(
                f"the file has {'at least ' if self._state.length is None else ''}{size_text(length)}, "
                f"more than a third of the {size_text(free)} free, and every stage makes about as much of it",
                where=self._redacted_url,
                todo="free some space, or set LLMTUI_HOME to another directory",
            )

    def _kept(self) -> str:
        return (
            f"the first {size_text(self._state.synced)} are kept"
            if self._state.synced and self._state.validator
            else ""
        )

    def _sleep(self, seconds: float) -> Iterator[Event]:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            time.sleep(min(0.1, seconds))
            yield from self._meter.advance(0)


def _parse_retry_after(header: str) -> float | None:
    """The wait in seconds of a Retry-After header (a number or an HTTP date); None if it is neither."""
    if header.isascii() and header.isdigit():
        return float(header)
    date = email.utils.parsedate_tz(header)
    return max(0.0, email.utils.mktime_tz(date) - time.time()) if date else None


def _response(client: GuardedClient, url: str, headers: dict[str, str]) -> Generator[_Head | bytes, None, None]:
    """The head and then the body of the response, in chunks. Raises what `GuardedClient.get` raises, but _RetryError
    for errors of urllib3."""
    try:
        response = client.get(url, headers)
        with contextlib.closing(response):
            yield _Head(response.status, response.headers)
            # not `read`, which loses the part of a chunk that came before the connection broke
            assert isinstance(response, urllib3.HTTPResponse)
            while chunk := response.read1(_CHUNK_BYTES, decode_content=False):
                yield chunk
    except exceptions.HTTPError as error:
        raise _RetryError(_describe(error), permanent=isinstance(error, _PERMANENT)) from None


_PERMANENT = (exceptions.ProxyError, exceptions.NewConnectionError, exceptions.SSLError)
"""No network, a mistyped name, a wrong certificate: retries do not help."""


def _describe(error: exceptions.HTTPError) -> str:
    if isinstance(error, exceptions.ProxyError):
        return "the proxy that the environment names does not answer"
    if isinstance(error, exceptions.NameResolutionError):
        return "the server's name is not known; is there a network?"
    if isinstance(error, exceptions.NewConnectionError):
        return "the server refuses the connection"
    if isinstance(error, exceptions.ConnectTimeoutError):
        return "the server does not answer"
    if isinstance(error, exceptions.ReadTimeoutError):
        return "the server has stopped sending"
    if isinstance(error, exceptions.SSLError):
        return "the server's certificate is not valid"
    return "the connection broke"
