"""Requests to a run, as files in its control directory: they work over any file system and any ssh.

A person's side writes them (`ask_…`), the worker's side takes them (`ControlRequests`).
"""

from __future__ import annotations

import contextlib
import secrets
from pathlib import Path

import msgspec

from core.parsing import ParseError, read_json
from core.runs.directory import Run
from core.storage.files import write_atomic
from core.train.commands import GenerateSample


def request_stop(run: Run) -> None:
    """Save a checkpoint at the next step and end."""
    _put(run.control / "stop")


def request_pause(run: Run) -> None:
    """Wait at the next step, keeping everything in memory, until `request_unpause`."""
    _put(run.control / "pause")


def request_unpause(run: Run) -> None:
    """End a pause."""
    (run.control / "pause").unlink(missing_ok=True)


def request_checkpoint(run: Run) -> None:
    """Save a checkpoint at the next step."""
    _put(run.control / "checkpoint")


def request_sample(run: Run, draw: GenerateSample | None = None) -> None:
    """Draw a sample at the next step."""
    _put(run.control / f"sample-{secrets.token_hex(4)}.json", msgspec.json.encode(draw or GenerateSample()))


def _put(path: Path, data: bytes = b"") -> None:
    path.parent.mkdir(mode=0o700, exist_ok=True)
    write_atomic(path, data, durable=False)


class ControlRequests:
    """The worker's view: takes each request once."""

    def __init__(self, run: Run) -> None:
        self._directory = run.control

    def pending(self) -> bool:
        """Whether something may be asked for. One look for all kinds, since the answer at most steps is no."""
        with contextlib.suppress(FileNotFoundError):
            return any(self._directory.iterdir())
        return False

    def pause(self) -> bool:
        """Whether a pause is wanted at this moment. It lasts until the file goes."""
        return (self._directory / "pause").exists()

    def take_stop(self) -> bool:
        return self._take("stop")

    def take_checkpoint(self) -> bool:
        return self._take("checkpoint")

    def take_samples(self) -> list[GenerateSample]:
        """All samples asked for since the last call; what cannot be read is dropped."""
        draws = []
        for path in sorted(self._directory.glob("sample-*.json")):
            with contextlib.suppress(OSError, ParseError):
                draws.append(read_json(path, GenerateSample))
            path.unlink(missing_ok=True)
        return draws

    def clear(self) -> None:
        """Forget what was asked of an earlier attempt."""
        self._directory.mkdir(mode=0o700, exist_ok=True)
        for path in self._directory.iterdir():
            path.unlink(missing_ok=True)

    def _take(self, name: str) -> bool:
        try:
            (self._directory / name).unlink()
        except FileNotFoundError:
            return False
        return True
