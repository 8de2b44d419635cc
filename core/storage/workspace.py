"""The per-user directories, valid names in them, and free disk space."""

from __future__ import annotations

import os
import re
import shutil
import stat
import unicodedata
from pathlib import Path

import platformdirs

from core.errors import LlmtuiError, UsageError

NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}\Z")


class WorkspaceError(LlmtuiError):
    """The data directory cannot be used."""

    doing = "use the data directory"


class ReadOnlyWorkspaceError(WorkspaceError):
    """The data directory is read-only."""


class InvalidNameError(UsageError):
    """A name of a run or recipe has characters that file names must not have."""

    doing = "use this name"


class Workspace:
    """The four directories of one user; with `LLMTUI_HOME` they are subdirectories of it.

    data: runs and artifacts. config: the user's own files, never overwritten. cache: may be deleted at any time.
    state: state of the workbench.
    """

    def __init__(self, home: Path | None = None) -> None:
        home = home or (Path(os.environ["LLMTUI_HOME"]) if os.environ.get("LLMTUI_HOME") else None)
        # not pathlib's expanduser, which raises where there is no such user
        self.home = Path(os.path.expanduser(home)).absolute() if home is not None else None  # noqa: PTH111
        if self.home is not None:
            self.data, self.config, self.cache, self.state = (
                self.home / part for part in ("data", "config", "cache", "state")
            )
        else:
            self.data = platformdirs.user_data_path("llmtui")
            self.config = platformdirs.user_config_path("llmtui")
            self.cache = platformdirs.user_cache_path("llmtui")
            self.state = platformdirs.user_state_path("llmtui")

    @property
    def runs(self) -> Path:
        return self.data / "runs"

    @property
    def hosts(self) -> Path:
        """Machines whose runs are mirrored, see `core.remote.hosts`."""
        return self.data / "hosts"

    @property
    def artifacts(self) -> Path:
        return self.data / "artifacts"

    @property
    def exports(self) -> Path:
        """Charts and texts that the user saved; created with the first of them."""
        return self.data / "exports"

    def prepare(self) -> Workspace:
        """Create missing directories, private to the user. Raises WorkspaceError if that is impossible or unsafe."""
        os.umask(0o077)
        if not _is_text(self.data):
            raise WorkspaceError(
                "its path is not UTF-8 text, which is all that runs and recipes can hold",
                where=str(self.data),
                todo="set LLMTUI_HOME to a directory whose path is",
            )
        todo = "set LLMTUI_HOME to a directory you can write to"
        for directory in (self.data, self.runs, self.artifacts, self.config, self.cache, self.state):
            try:
                directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            except OSError as error:
                raise ReadOnlyWorkspaceError(
                    (error.strerror or str(error)).lower(), where=str(directory), todo=todo
                ) from None
        if not self.writable:
            raise ReadOnlyWorkspaceError("it is read-only", where=str(self.runs), todo=todo)
        status = self.data.stat()
        if status.st_uid != os.geteuid():
            raise WorkspaceError(
                "it belongs to somebody else", where=str(self.data), todo="set LLMTUI_HOME to one of yours"
            )
        if stat.S_IMODE(status.st_mode) & 0o077:
            self.data.chmod(0o700)
        return self

    def prepare_for_reading(self) -> Workspace:
        """Like `prepare`, for read-only commands: accepts a read-only data directory.

        Raises ReadOnlyWorkspaceError if runs cannot be read."""
        try:
            return self.prepare()
        except ReadOnlyWorkspaceError:
            if not os.access(self.runs, os.R_OK | os.X_OK):
                raise
            return self

    @property
    def writable(self) -> bool:
        """Whether runs can be created."""
        return os.access(self.runs, os.W_OK | os.X_OK)


def _is_text(path: Path) -> bool:
    """Whether the path is valid UTF-8: Python represents other bytes as surrogates."""
    return not any("\ud800" <= character <= "\udfff" for character in str(path))


def free_bytes(path: Path) -> int:
    """Bytes free for this user on the file system of `path` or of its nearest parent that exists."""
    while not path.exists():
        path = path.parent
    return shutil.disk_usage(path).free


def name_from(text: str, fallback: str = "untitled") -> str:
    """A valid name made from `text`: lower case without accents, other characters replaced by dashes; `fallback` if it
    is empty."""
    plain = "".join(c for c in unicodedata.normalize("NFKD", text.casefold()) if not unicodedata.combining(c))
    name = re.sub(r"[^a-z0-9._-]+", "-", plain).strip("-._")[:48].rstrip("-._")
    return re.sub(r"\.{2,}", ".", name) or fallback


def check_name(name: str) -> str:
    """`name` in lower case. Raises InvalidNameError if it is no valid file name on all systems."""
    lower = name.lower()
    if not NAME.match(lower) or ".." in lower or lower.endswith("."):
        todo = f"use a-z, 0-9, dot, dash, underscore; at most 64 characters; such as {name_from(name, 'my-run')}"
        raise InvalidNameError(f"{name!r} is not a name", todo=todo)
    return lower
