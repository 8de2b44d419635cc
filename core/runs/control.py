"""Requests to a run, as files in its control directory: they work on any file system and over SSH.

The user's side writes them (`request_…`), the worker takes them (`ControlRequests`).
"""

from __future__ import annotations

import contextlib
import math
import secrets
from pathlib import Path

import msgspec

from core.parsing import ParseError, read_json
from core.runs.directory import Run
from core.storage.files import write_atomic
from core.train.commands import ChangeLearningRate, GenerateSample


def request_stop(run: Run) -> None:
    """Ask the run to save a checkpoint after the current step, and to end."""
    _put(run.control / "stop")


def request_pause(run: Run) -> None:
    """Ask the run to wait after the current step, with everything in memory, until `request_unpause`."""
    _put(run.control / "pause")


def request_unpause(run: Run) -> None:
    """End a pause."""
    (run.control / "pause").unlink(missing_ok=True)


def request_checkpoint(run: Run) -> None:
    """Ask the run to save a checkpoint after the current step."""
    _put(run.control / "checkpoint")


def request_sample(run: Run, sample: GenerateSample | None = None) -> None:
    """Ask the run to generate a sample after the current step."""
    _put(run.control / f"sample-{secrets.token_hex(4)}.json", msgspec.json.encode(sample or GenerateSample()))


def request_learning_rate(run: Run, factor: float) -> None:
    """Ask the run to save a checkpoint after the current step, and to go on with `factor` times the learning rates of
    its recipe, see `core.train.lr_changes`. A later request replaces one that was not taken yet."""
    _put(run.control / "learning-rate.json", msgspec.json.encode(ChangeLearningRate(factor)))


def _put(path: Path, data: bytes = b"") -> None:
    path.parent.mkdir(mode=0o700, exist_ok=True)
    write_atomic(path, data, durable=False)


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
