"""The vocabulary of the journal: everything a stage, a trainer or the worker has to say, and how it is written."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

import msgspec
from msgspec import Struct, field

STAGES = ("download", "preprocess", "tokenize", "train", "sample")
"""The stages of the pipeline, in order."""

Outcome = Literal["done", "stopped", "failed"]


class Event(Struct, frozen=True, kw_only=True, tag=True):
    """One line of a run's journal."""

    at: float = field(default_factory=time.time)
    """Seconds since the epoch, for people; never used for rates."""
    tick: float = field(default_factory=time.monotonic)
    """The writer's monotonic clock in seconds: differences within one attempt are true durations."""


class Started(Event, frozen=True, kw_only=True):
    """A worker took the run; everything until the next `Started` is this attempt's."""

    attempt: int
    pid: int
    host: str
    device: str
    """What the arithmetic runs on, in words: "2 cores, bfloat16"."""


class StageStarted(Event, frozen=True, kw_only=True):
    stage: str


class StageSkipped(Event, frozen=True, kw_only=True):
    """The stage's artifact was there already."""

    stage: str
    artifact: str
    """Path of the artifact."""
    facts: dict[str, int | float | str]


class StageFinished(Event, frozen=True, kw_only=True):
    stage: str
    artifact: str
    facts: dict[str, int | float | str]
    """What the artifact holds, such as documents and bytes."""


class Progress(Event, frozen=True, kw_only=True):
    """How far the current stage is."""

    done: float
    total: float | None
    """None: nobody knows yet; a screen shows the rate instead."""
    unit: Literal["bytes", "documents", "tokens", "steps", "seconds", "samples"]


class StepCount(Struct, frozen=True, kw_only=True):
    """What one cleaning step did to the corpus."""

    step: str
    changed: int
    """Documents it changed."""
    removed: int
    """Documents it removed."""
    bytes: int
    """Bytes of UTF-8 it took away (negative: it added some)."""


class Report(Event, frozen=True, kw_only=True):
    """What each cleaning step did, and what was skipped on the way in."""

    steps: tuple[StepCount, ...] = ()


class Shape(Event, frozen=True, kw_only=True):
    """The model about to be trained."""

    parameters: int
    flops_per_token: int
    """Forward and backward, 6 per matrix parameter and 12·layers·width·context for attention (PaLM)."""
    vocabulary: int
    tokens: int
    """Training tokens there are."""


class Resumed(Event, frozen=True, kw_only=True):
    """Training goes on from a checkpoint: what earlier attempts said about later steps no longer counts."""

    step: int
    checkpoint: str
    """Path of it."""


class Metric(Event, frozen=True, kw_only=True):
    """One training step."""

    step: int
    loss: float
    """Mean cross-entropy of the step's batch in nats per token."""
    lr: float
    grad_norm: float
    """Before clipping."""
    tokens: int
    """Seen since the first step."""
    seconds: float
    """Of training since the first step, pauses left out."""
    progress: float
    """Share of the training done, 0 to 1, by whichever limit is nearest."""


class Evaluation(Event, frozen=True, kw_only=True):
    """Losses on fixed slices, in nats per token."""

    step: int
    loss: float
    train_loss: float | None
    """Mean over the training steps since the last evaluation; None before the first step."""
    bits_per_byte: float
    best: bool
    """The lowest loss on the slice so far."""
    final: bool = False
    """Over all held-out text, or 64 slices of it where there is more: the last word on a finished training."""


class Sample(Event, frozen=True, kw_only=True):
    """Text the model wrote."""

    step: int
    prompt: str
    text: str
    """What follows the prompt."""
    temperature: float
    top_k: int
    top_p: float
    seed: int


class Saved(Event, frozen=True, kw_only=True):
    """A checkpoint is on the disk, complete."""

    step: int
    path: str
    bytes: int
    seconds: float


class Yardstick(Event, frozen=True, kw_only=True):
    """How many bits a byte of the held-out text costs something everybody knows."""

    name: str
    bits_per_byte: float


class Gpu(Struct, frozen=True, kw_only=True):
    name: str
    utilisation: float
    """0 to 1."""
    memory: int
    memory_total: int
    """Bytes."""
    watts: float | None = None
    celsius: float | None = None


class Reading(Event, frozen=True, kw_only=True):
    """What the machine is doing. Shares are 0 to 1, sizes in bytes."""

    cpu: float
    """Of all cores."""
    cores: int
    ram: int
    ram_total: int
    process_ram: int
    """Resident memory of the worker."""
    process_cpu: float
    """Of one core: 1.6 is 1.6 cores busy."""
    disk_free: int
    gpus: tuple[Gpu, ...] = ()


class Note(Event, frozen=True, kw_only=True):
    """Something worth knowing that fits no other event."""

    level: Literal["info", "warning", "error"] = "info"
    text: str


class Paused(Event, frozen=True, kw_only=True):
    """The worker waits; the next event of any kind ends the pause."""


class Ended(Event, frozen=True, kw_only=True):
    """The last word of an attempt."""

    attempt: int
    outcome: Outcome
    what: str = ""
    """Why it failed: the parts of a `Trouble`."""
    where: str = ""
    kept: str = ""
    todo: str = ""
    exit_code: int = 0


AnyEvent = (
    Started
    | StageStarted
    | StageSkipped
    | StageFinished
    | Progress
    | Report
    | Shape
    | Resumed
    | Metric
    | Evaluation
    | Sample
    | Saved
    | Yardstick
    | Reading
    | Note
    | Paused
    | Ended
)

_encoder = msgspec.json.Encoder()
_decoder: msgspec.json.Decoder[AnyEvent] = msgspec.json.Decoder(AnyEvent)


def encode(event: Struct) -> bytes:
    """One journal line, without its newline."""
    return _encoder.encode(event)


class Lines:
    """Append-only writer of a file of lines: one `write` a line, so that only a full disk can tear one.

    Opening it cuts off a torn last line that a crash left. One writer at a time, which the writer's lock ensures.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._fd = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        self._size = self._heal()

    def _heal(self) -> int:
        """Cut the file behind its last newline; its size after that."""
        end = os.fstat(self._fd).st_size
        while end:
            start = max(0, end - 65536)
            cut = os.pread(self._fd, end - start, start).rfind(b"\n")
            if cut >= 0:
                end = start + cut + 1
                break
            end = start
        os.ftruncate(self._fd, end)
        return end

    def append(self, line: bytes) -> bool:
        """Write `line` and a newline; False when the disk is full, and then nothing of it stays."""
        data = line + b"\n"
        try:
            written = os.write(self._fd, data)
        except OSError:
            written = 0
        if written != len(data):
            os.ftruncate(self._fd, self._size)
            return False
        self._size += written
        return True

    def sync(self) -> None:
        """Make all lines so far survive a power cut."""
        os.fsync(self._fd)

    def close(self) -> None:
        os.close(self._fd)


def last_event(path: Path) -> AnyEvent | None:
    """The event in the last complete line; None when there is none or it cannot be read."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - 2**20))
            lines = file.read().rpartition(b"\n")[0].splitlines()
        return _decoder.decode(lines[-1]) if lines else None
    except (FileNotFoundError, msgspec.DecodeError):
        return None


class Tail:
    """What is new in a file of lines since the last look, safe beside a writer, a crash and a replaced file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.offset = 0
        self.unreadable = 0
        """Complete lines that were no event: damage, or a newer version's words."""
        self._inode = 0

    def lines(self, limit: int = -1) -> list[bytes]:
        """The complete lines since the last call. A file that shrank or was replaced is read from its start.

        limit: read only about so many bytes now; the next call goes on behind them.
        """
        try:
            with self.path.open("rb") as file:
                status = os.fstat(file.fileno())
                if status.st_ino != self._inode or status.st_size < self.offset:
                    self._inode, self.offset = status.st_ino, 0
                if status.st_size == self.offset:
                    return []
                file.seek(self.offset)
                data = file.read(limit)
                if limit >= 0 and b"\n" not in data:
                    data += file.readline()  # a line longer than the limit must not stop everything behind it
        except FileNotFoundError:
            return []
        end = data.rfind(b"\n") + 1
        self.offset += end
        return data[:end].splitlines()

    def events(self, limit: int = -1) -> list[AnyEvent]:
        """The events since the last call, or those in about the next `limit` bytes."""
        return list(self._decoded(self.lines(limit)))

    def _decoded(self, lines: Iterable[bytes]) -> Iterable[AnyEvent]:
        for line in lines:
            try:
                yield _decoder.decode(line)
            except msgspec.DecodeError:
                self.unreadable += 1
