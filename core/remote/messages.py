"""What a host and the process that mirrors its runs say to each other: MessagePack behind its length, over ssh."""

from __future__ import annotations

import struct
from typing import BinaryIO

import msgspec
from msgspec import Struct

from core.events import HardwareReading
from core.parsing import ParseError, parse
from core.runs.remote_state import RemoteState

PROTOCOL = 2
"""Raised with every change that the other side must know of."""

GREETING = b"llmtui mirror\n"
"""Comes before the first message; what a shell prints at its start is skipped."""

MAX_MESSAGE = 2**26
"""Bytes; a longer one is damage."""

CHUNK = 2**18
"""Bytes of a file in one message."""

MIRRORED = ("journal.jsonl", "launches.jsonl", "log.txt")
"""Files of a run that only grow, of which what is new is sent."""


class MirrorProtocolError(Exception):
    """The other side says what is no message."""


class Mirrored(Struct, frozen=True):
    """How much of a file the mirror has: its size, and `core.remote.growing_file.checksum` up to there."""

    size: int
    checksum: int


def is_plain(name: str) -> bool:
    """Whether `name` names a file in a directory, and none elsewhere: both sides believe no other."""
    return bool(name) and "/" not in name and not name.startswith(".") and name.isprintable() and len(name) < 200


# -- to the host --------------------------------------------------------------------------------------------------


class Hello(Struct, frozen=True, tag=True):
    """The first message. runs: the files that the mirror has, by run id and name."""

    protocol: int
    version: str
    runs: dict[str, dict[str, Mirrored]]
    excluded: list[str]
    """Ids of runs that must not be mirrored: their mirrors were deleted."""


class PutRequest(Struct, frozen=True, tag=True):
    """Write a file into the run's control directory."""

    run: str
    name: str
    data: bytes


class RemoveRequest(Struct, frozen=True, tag=True):
    """Delete a file of the run's control directory: the end of a pause."""

    run: str
    name: str


class StartRun(Struct, frozen=True, tag=True):
    """Start the run again, as `llmtui resume --detach`."""

    run: str


class FetchCheckpoint(Struct, frozen=True, tag=True):
    """Send a checkpoint. which: "last", "best", or a step."""

    run: str
    which: str


# -- from the host ------------------------------------------------------------------------------------------------


class Welcome(Struct, frozen=True, tag=True):
    """The answer to `Hello`."""

    protocol: int
    version: str
    time: float
    """Seconds since 1970, by the host's clock."""
    machine: str
    """Its processor and memory in words."""


class HostLoad(Struct, frozen=True, tag=True):
    """Sent every few seconds, also as a sign of life."""

    reading: HardwareReading
    active: int
    """Number of runs that have a process."""


class RunDescription(Struct, frozen=True, tag=True):
    """The content of run.json: of a new run, or after it changed."""

    run: str
    content: bytes


class Appended(Struct, frozen=True, tag=True):
    """Bytes of a file from `offset` on; what the mirror has after that is not part of it."""

    run: str
    name: str
    offset: int
    data: bytes


class RunProcesses(Struct, frozen=True, tag=True):
    """Which processes a run has, and what else is not in its files, sent when it changes."""

    run: str
    supervisor: bool
    worker: bool
    paused: bool
    state: RemoteState


class RunGone(Struct, frozen=True, tag=True):
    """The run was deleted."""

    run: str


class CheckpointFile(Struct, frozen=True, tag=True):
    """Bytes of a file of a checkpoint, in order."""

    run: str
    checkpoint: str
    name: str
    offset: int
    data: bytes


class CheckpointSent(Struct, frozen=True, tag=True):
    """All files of the checkpoint were sent."""

    run: str
    checkpoint: str


class RequestFailed(Struct, frozen=True, tag=True):
    """A request of the mirror cannot be fulfilled."""

    run: str
    why: str


ToHost = Hello | PutRequest | RemoveRequest | StartRun | FetchCheckpoint
FromHost = (
    Welcome
    | HostLoad
    | RunDescription
    | Appended
    | RunProcesses
    | RunGone
    | CheckpointFile
    | CheckpointSent
    | RequestFailed
)

_LENGTH = struct.Struct("!I")
_to_host = msgspec.msgpack.Decoder(ToHost)
_from_host = msgspec.msgpack.Decoder(FromHost)


def send(stream: BinaryIO, message: ToHost | FromHost) -> None:
    """Write a message. Raises OSError if the other side is gone."""
    body = msgspec.msgpack.encode(message)
    stream.write(_LENGTH.pack(len(body)) + body)
    stream.flush()


def receive_at_host(stream: BinaryIO) -> ToHost | None:
    """The mirror's next message; None at the end. Raises MirrorProtocolError."""
    body = _body(stream)
    try:
        return None if body is None else parse(_to_host.decode, body)
    except ParseError as error:
        raise MirrorProtocolError(str(error)) from None


def receive(stream: BinaryIO) -> FromHost | None:
    """The host's next message; None at the end. Raises MirrorProtocolError."""
    body = _body(stream)
    try:
        return None if body is None else parse(_from_host.decode, body)
    except ParseError as error:
        raise MirrorProtocolError(str(error)) from None


def skip_to_greeting(stream: BinaryIO) -> bool:
    """Skip what a shell prints before `GREETING`, at most 64 KiB; returns whether it came."""
    return any(stream.readline(2**10) == GREETING for _ in range(64))


def _body(stream: BinaryIO) -> bytes | None:
    head = stream.read(_LENGTH.size)
    if len(head) < _LENGTH.size:
        return None
    (length,) = _LENGTH.unpack(head)
    if length > MAX_MESSAGE:
        raise MirrorProtocolError(f"a message of {length:,} bytes")
    body = stream.read(length)
    return body if len(body) == length else None
