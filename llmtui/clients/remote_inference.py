"""The inference process on the host of a mirrored run, started through ssh: which requests go there, and its end.

The host's side is `llmtui hosts infer`. Nothing that comes from there is believed: lines, replies and errors are
bounded in size here, and sanitised where they are shown.
"""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path
from typing import Final, NamedTuple

from core import __version__
from core.errors import LlmtuiError
from core.remote.hosts import MirroredHost
from core.runs.directory import Run
from core.runs.errors import InvalidRunError
from core.runs.remote_state import REMOTE_CHECKPOINTS
from core.storage.workspace import Workspace
from core.targets.ssh import NOT_FOUND, SSH_FAILED, failure_on_host

GREETING: Final = b"llmtui inference "
"""Begins the line before the first reply; the version follows. What a shell prints at its start is skipped."""
GREETING_LINES, GREETING_SECONDS = 64, 60.0
"""How much a shell may print before, and how long a host may take to log in and to start llmtui."""
MAX_REPLY_BYTES = 2**28
"""Of all replies to one request: more is no answer of ours."""
COPY_HERE: Final = "copy the checkpoint here: F, or llmtui hosts fetch"
_MAX_ERROR_BYTES = 2**12
"""Of what ssh and the process there say on standard error, the last ones are kept."""


class RemoteInferenceError(LlmtuiError):
    """The process on the host could not be reached, has ended, or is none of ours."""

    doing = "generate text on the host"


class Location(NamedTuple):
    """Where the inference process of a checkpoint finds it."""

    host: str
    """On which that process runs; empty: this machine."""
    path: str


def is_remote(checkpoint: Path) -> bool:
    """Whether `checkpoint`, or a directory of checkpoints, is on the host of a mirrored run."""
    return REMOTE_CHECKPOINTS in (checkpoint.name, checkpoint.parent.name)


async def location(checkpoint: Path) -> Location:
    """Where `checkpoint`, or a directory of checkpoints, is. Raises RemoteInferenceError if the mirror was deleted."""
    if not is_remote(checkpoint):
        return Location("", str(checkpoint))
    directory = checkpoint if checkpoint.name == REMOTE_CHECKPOINTS else checkpoint.parent
    try:
        run = await asyncio.to_thread(Run.open, directory.parent)
    except InvalidRunError as error:
        raise RemoteInferenceError(f"the mirror of the run is gone: {error.what}", where=error.where) from None
    # relative to the directory of runs there, in which the process works
    return Location(run.host, str(Path(run.id, "checkpoints", *checkpoint.relative_to(directory).parts)))


class RemoteProcess:
    """What differs about an inference process if ssh starts it on a host."""

    def __init__(self, workspace: Workspace, name: str) -> None:
        """Raises HostNameError."""
        self.host = MirroredHost.find(workspace, name)
        self._errors = b""

    @property
    def command(self) -> list[str]:
        return self.host.command("hosts infer")

    async def greeted(self, output: asyncio.StreamReader) -> LlmtuiError | None:
        """Read up to the greeting. None: replies follow; otherwise why they do not. Raises OSError, ValueError."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(GREETING_SECONDS):
                for _ in range(GREETING_LINES):
                    line = await output.readline()
                    if line.startswith(GREETING):
                        return self._refusal(line.removeprefix(GREETING).strip()[:40].decode(errors="replace"))
                    if not line:
                        return None  # it has ended
                return self.error("the host does not answer as llmtui does", todo=self._what_to_check)
        return self.error(f"{self.host.name} has not answered for {GREETING_SECONDS:.0f} s", todo=self._what_to_check)

    @property
    def _what_to_check(self) -> str:
        return f"see what this prints: {self.host.shell_command('hosts infer')}"

    def _refusal(self, version: str) -> LlmtuiError | None:
        if version == __version__:
            return None
        return self.error(
            f"{self.host.name} has llmtui {version}, and here is {__version__}: they may not understand each other",
            todo=f"install the same version there, or {COPY_HERE}",
        )

    async def read_errors(self, stream: asyncio.StreamReader) -> None:
        """Read standard error to its end, and keep the end of it."""
        while data := await stream.read(_MAX_ERROR_BYTES):
            self._errors = (self._errors + data)[-_MAX_ERROR_BYTES:]

    def why_ended(self, code: int) -> LlmtuiError:
        """The error for a process that has ended with `code`."""
        errors, name = self._errors.decode(errors="replace"), self.host.name
        if code == SSH_FAILED:
            error = failure_on_host(self.host.file.address, code, errors)
            return self.error(error.what, todo=f"try again, it connects anew; {error.todo}")
        if code in NOT_FOUND:
            what = f"there is no `{self.host.file.command}` on {name}"
            return self.error(what, todo=f"llmtui hosts add --command PATH says where it is; or {COPY_HERE}")
        if code == 2 and "No such command" in errors:
            what = f"the llmtui on {name} is older than {__version__} and cannot generate text for this machine"
            return self.error(what, todo=f"install this version there, or {COPY_HERE}")
        last = next((line.strip() for line in reversed(errors.splitlines()) if line.strip()), "")
        how = f"code {code}" if code >= 0 else f"signal {-code}"
        message = f" ({last[:200]})" if last else ""
        return self.error(f"the inference process on {name} ended with {how}{message}")

    def error(self, what: str, *, todo: str = "try again, it starts anew") -> LlmtuiError:
        """An error of this process."""
        return RemoteInferenceError(what, where=self.host.name, todo=todo)
