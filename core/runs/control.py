"""Requests to a run, as files in its control directory: they work on any file system and over SSH.

The user's side writes them (`request_…`), the worker takes them (`ControlRequests`).
"""

from __future__ import annotations

import contextlib
import math
import secrets
import time
from pathlib import Path

import msgspec
from msgspec import Struct

from core.errors import LlmtuiError
from core.parsing import ParseError, read_json
from core.runs.deletion import bytes_in
from core.runs.directory import Run, connection_lock
from core.storage.files import write_atomic
from core.storage.locks import holder
from core.train.commands import ChangeLearningRate, GenerateSample

FETCH_SECONDS = 60.0
"""Without a byte of a checkpoint, after which it is given up."""

PAUSE, RESUME, FETCH = "pause", "resume", "fetch-"
"""Files of the control directory with a meaning for the mirror of a run of another machine, too, see `core.remote`."""


def request_stop(run: Run) -> None:
    """Ask the run to save a checkpoint after the current step, and to end."""
    put_request(run, "stop")


def request_pause(run: Run) -> None:
    """Ask the run to wait after the current step, with everything in memory, until `request_unpause`."""
    put_request(run, PAUSE)


def request_unpause(run: Run) -> None:
    """End a pause."""
    (run.control / PAUSE).unlink(missing_ok=True)


def request_requeue(run: Run) -> None:
    """Ask the run to save a checkpoint and to end as if it had been killed, so that it is started again."""
    put_request(run, "requeue")


def request_checkpoint(run: Run) -> None:
    """Ask the run to save a checkpoint after the current step."""
    put_request(run, "checkpoint")


def request_sample(run: Run, sample: GenerateSample | None = None) -> None:
    """Ask the run to generate a sample after the current step."""
    put_request(run, f"sample-{secrets.token_hex(4)}.json", msgspec.json.encode(sample or GenerateSample()))


def request_learning_rate(run: Run, factor: float) -> None:
    """Ask the run to save a checkpoint after the current step, and to continue with `factor` times the learning rates
    of its recipe, see `core.train.lr_changes`. A later request replaces one that was not taken yet."""
    put_request(run, "learning-rate.json", msgspec.json.encode(ChangeLearningRate(factor)))


class Answer(Struct, frozen=True, kw_only=True):
    """What the host of a mirrored run did about the last request that it answers."""

    error: str = ""
    """Why it failed. Not sanitised."""
    checkpoint: str = ""
    """Name of the checkpoint that was fetched."""


def request_resume(run: Run) -> None:
    """Ask the host of a mirrored run to start it again. It answers only if it cannot."""
    write_answer(run, None)
    put_request(run, RESUME)


def request_fetch(run: Run, which: str) -> None:
    """Ask the host of a mirrored run for a checkpoint: "last", "best", or a step. It answers."""
    write_answer(run, None)
    put_request(run, FETCH + which)


class FetchError(LlmtuiError):
    doing = "fetch the checkpoint"


def fetched_checkpoint(run: Run, which: str) -> Path:
    """Ask the host of a mirrored run for a checkpoint, see `request_fetch`, and wait until it is here.

    Returns its directory. Raises FetchError if the host has none, is not connected, or sends nothing for
    `FETCH_SECONDS`; OSError.
    """
    request_fetch(run, which)
    size, received_at = -1, time.monotonic()
    while time.monotonic() < received_at + FETCH_SECONDS:
        answer = read_answer(run)
        if answer and answer.error:
            raise FetchError(answer.error, where=run.host)
        if answer:
            return run.checkpoints / answer.checkpoint
        if holder(connection_lock(run.path, run.host)) is None:
            (run.control / (FETCH + which)).unlink(missing_ok=True)
            raise FetchError(f"{run.host} is not connected", todo=f"connect to it: llmtui hosts connect {run.host}")
        if (now := bytes_in(run.checkpoints)) != size:
            size, received_at = now, time.monotonic()
        time.sleep(0.1)
    raise FetchError(f"{run.host} has sent nothing for {FETCH_SECONDS:.0f} s", todo=f"llmtui hosts show {run.host}")


def read_answer(run: Run) -> Answer | None:
    """The answer to the last request; None while there is none."""
    try:
        return read_json(run.path / "answer.json", Answer)
    except (OSError, ParseError):
        return None


def write_answer(run: Run, answer: Answer | None) -> None:
    """Write the answer to a request, or remove the one to an earlier request. Raises OSError."""
    path = run.path / "answer.json"
    if answer is None:
        path.unlink(missing_ok=True)
    else:
        write_atomic(path, msgspec.json.encode(answer), durable=False)


def put_request(run: Run, name: str, data: bytes = b"") -> None:
    """Write a file into the control directory."""
    run.control.mkdir(mode=0o700, exist_ok=True)
    write_atomic(run.control / name, data, durable=False)


class ControlRequests:
    """The requests to a run, for its worker: each is taken once."""

    def __init__(self, run: Run) -> None:
        self._directory = run.control

    def pending(self) -> bool:
        """Whether there may be a request: one check for all kinds, since at most steps there is none."""
        with contextlib.suppress(FileNotFoundError):
            return any(self._directory.iterdir())
        return False

    def pause(self) -> bool:
        """Whether a pause is requested. It lasts until its file is removed."""
        return (self._directory / "pause").exists()

    def take_stop(self) -> bool:
        return self._take("stop")

    def take_requeue(self) -> bool:
        return self._take("requeue")

    def take_checkpoint(self) -> bool:
        return self._take("checkpoint")

    def take_learning_rate(self) -> ChangeLearningRate | None:
        """The newest request since the last call; an unreadable one is dropped."""
        path, request = self._directory / "learning-rate.json", None
        with contextlib.suppress(OSError, ParseError):
            request = read_json(path, ChangeLearningRate)
        path.unlink(missing_ok=True)
        return request if request and 0 < request.factor < math.inf else None

    def take_samples(self) -> list[GenerateSample]:
        """All samples requested since the last call; unreadable requests are dropped."""
        samples = []
        for path in sorted(self._directory.glob("sample-*.json")):
            with contextlib.suppress(OSError, ParseError):
                samples.append(read_json(path, GenerateSample))
            path.unlink(missing_ok=True)
        return samples

    def clear(self) -> None:
        """Delete the requests to an earlier attempt."""
        self._directory.mkdir(mode=0o700, exist_ok=True)
        for path in self._directory.iterdir():
            path.unlink(missing_ok=True)

    def _take(self, name: str) -> bool:
        try:
            (self._directory / name).unlink()
        except FileNotFoundError:
            return False
        return True
