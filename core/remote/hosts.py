"""The hosts whose runs are mirrored.

<data>/hosts/NAME/host.json      how to reach it, and which runs have been mirrored
<data>/hosts/NAME/status.json    the state of the connection, written by the process that mirrors it
<data>/hosts/NAME/mirror.lock    held by that process
<data>/hosts/NAME/log.txt        what it and ssh say
"""

from __future__ import annotations

import shlex
import time
from pathlib import Path

import msgspec
from msgspec import Struct

from core.errors import BusyError, DiskError, LlmtuiError, UsageError
from core.events import HardwareReading
from core.parsing import ParseError, read_json
from core.runs import launch
from core.runs.deletion import remove_locked
from core.storage.files import write_atomic
from core.storage.locks import holder
from core.storage.workspace import Workspace, check_name
from core.targets.ssh import SSH as SSH_COMMAND

# journals are text: compressed they take a fifth; a connection kept for later commands would hold our pipes open
SSH = (*SSH_COMMAND, "-C", "-o", "ControlMaster=no")


class HostError(LlmtuiError):
    doing = "mirror the host"


class HostNameError(UsageError):
    doing = "find the host"


class MirrorRunsError(BusyError):
    doing = "start the mirror"


class HostFile(Struct, frozen=True, kw_only=True):
    """host.json."""

    address: str
    """What ssh connects to: HOST, USER@HOST, or a name of ~/.ssh/config."""
    command: str = "llmtui"
    """Shell command that starts llmtui there."""
    ssh: tuple[str, ...] = SSH
    mirrored: tuple[str, ...] = ()
    """Ids of the runs that have been mirrored: one whose mirror was deleted is not mirrored again."""


class Connection(Struct, frozen=True, kw_only=True):
    """status.json: the connection, as its process last wrote it."""

    connected: bool = False
    since: float = 0.0
    """Seconds since 1970."""
    why: str = ""
    """Why there is no connection, and what to do about it. Not sanitised."""
    machine: str = ""
    version: str = ""
    clock: float = 0.0
    """Seconds by which the host's clock is ahead of this one."""
    reading: HardwareReading | None = None
    active: int = 0
    """Number of its runs that have a process."""


class MirroredHost:
    """A directory of `<data>/hosts`."""

    def __init__(self, path: Path, file: HostFile) -> None:
        self.path, self.file = path, file

    @classmethod
    def create(cls, workspace: Workspace, name: str, file: HostFile) -> MirroredHost:
        """Record a host. Raises InvalidNameError, HostNameError if there is one of that name, DiskError."""
        check_name(name)
        path = workspace.hosts / name
        if file.address.startswith("-"):
            raise HostNameError(f"an address does not begin with a dash: {file.address}")
        try:
            path.mkdir(parents=True, mode=0o700)
        except FileExistsError:
            raise HostNameError(f"there is a host {name} already", todo=f"llmtui hosts rm {name} forgets it") from None
        except OSError as error:
            raise DiskError.from_oserror(error, path) from None
        host = cls(path, file)
        host.save(file)
        return host

    @classmethod
    def find(cls, workspace: Workspace, name: str) -> MirroredHost:
        """The host called `name`. Raises HostNameError."""
        hosts = {host.name: host for host in all_hosts(workspace)}
        if name in hosts:
            return hosts[name]
        names = ", ".join(hosts) or "none"
        raise HostNameError(f"there is no host {name}; known: {names}", todo="llmtui hosts add ADDRESS adds one")

    @property
    def name(self) -> str:
        return self.path.name

    def command(self, arguments: str) -> list[str]:
        """The command line that runs llmtui there. The remote shell splits `arguments`."""
        return [*self.file.ssh, self.file.address, f"{self.file.command} {arguments}"]

    @property
    def lock(self) -> Path:
        return self.path / "mirror.lock"

    @property
    def log(self) -> Path:
        return self.path / "log.txt"

    @property
    def is_mirrored(self) -> bool:
        """Whether a process mirrors it. Not for that process itself, which would lose its lock."""
        return holder(self.lock) is not None

    def save(self, file: HostFile) -> None:
        """Raises DiskError."""
        try:
            write_atomic(self.path / "host.json", msgspec.json.encode(file))
        except OSError as error:
            raise DiskError.from_oserror(error, self.path) from None
        self.file = file

    def connection(self) -> Connection:
        """The connection; one that is down without a reason before the first attempt."""
        try:
            return read_json(self.path / "status.json", Connection)
        except (OSError, ParseError):
            return Connection()

    def write_connection(self, connection: Connection) -> None:
        """Raises OSError."""
        write_atomic(self.path / "status.json", msgspec.json.encode(connection), durable=False)

    def start(self, workspace: Workspace, patience: float = 60.0) -> None:
        """Start the process that mirrors the host, detached. Raises MirrorRunsError, HostError, DiskError."""
        for request in ("stop", "status.json"):
            (self.path / request).unlink(missing_ok=True)
        launch.start_detached(
            launch.python_command("core.remote.mirror", str(self.path)),
            workspace,
            name="mirror",
            log=self.log,
            lock=self.lock,
            record=self.path / "status.json",
            busy=MirrorRunsError(f"{self.name} is mirrored already"),
            failed=HostError,
            patience=patience,
        )

    def stop(self, patience: float = 15.0) -> bool:
        """Ask the process to end; returns whether it has."""
        (self.path / "stop").touch(0o600)
        deadline = time.monotonic() + patience
        while self.is_mirrored and time.monotonic() < deadline:
            time.sleep(0.05)
        return not self.is_mirrored

    def remove(self) -> None:
        """Forget the host; mirrors of its runs stay. Raises MirrorRunsError if it is mirrored, DiskError."""
        busy = MirrorRunsError(f"{self.name} is mirrored", todo=f"llmtui hosts disconnect {self.name}, first")
        remove_locked(self.path, [self.lock], busy)

    def shell_command(self, arguments: str) -> str:
        """A command for the user that runs llmtui there."""
        return f"ssh {shlex.quote(self.file.address)} {self.file.command} {arguments}"


def all_hosts(workspace: Workspace) -> list[MirroredHost]:
    """The hosts, by name; unreadable directories are left out."""
    hosts = []
    for path in sorted(workspace.hosts.glob("[!.]*")):
        try:
            hosts.append(MirroredHost(path, read_json(path / "host.json", HostFile)))
        except (OSError, ParseError):
            continue
    return hosts
