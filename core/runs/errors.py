"""Errors about runs."""

from __future__ import annotations

from pathlib import Path

from core.errors import BusyError, LlmtuiError, UsageError


class InvalidRunError(LlmtuiError):
    """A run directory that cannot be read. path, run: the directory, and its name."""

    doing = "read the run"

    def __init__(self, what: str, *, path: Path, todo: str = "") -> None:
        todo = todo or f"`llmtui rm {path.name}` deletes it with all that is in it"
        super().__init__(what, where=str(path), todo=todo)
        self.path, self.run = path, path.name

    @classmethod
    def of(cls, error: OSError, path: Path) -> InvalidRunError:
        """The error for a run directory whose file system raised `error`."""
        return cls((error.strerror or str(error)).lower(), path=path, todo="`llmtui doctor` checks the file system")


class RemoteRunError(UsageError):
    """It can be done only on the machine that the run is on."""

    doing = "do that to a run of another machine"


class RunActiveError(BusyError):
    doing = "do that to a running run"
