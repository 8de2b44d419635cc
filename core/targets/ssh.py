"""ssh as a transport: commands on another host with the user's own keys and configuration, and its errors in words."""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Sequence

from core import __version__
from core.targets.template import TargetError

CONNECT_SECONDS = 15
"""Until a host counts as unreachable."""

# no questions: there may be no terminal; a connection that is lost is noticed within a minute
SSH = ("ssh", "-o", "BatchMode=yes", "-o", f"ConnectTimeout={CONNECT_SECONDS}", "-o", "ServerAliveInterval=15")

NOT_FOUND = (126, 127)
"""Exit codes of a shell for a program that is not there or cannot be run."""
SSH_FAILED = 255
"""Exit code of ssh itself."""


def run_on_host(
    host: str, command: Sequence[str], *, data: bytes = b"", seconds: float = 60.0, ssh: Sequence[str] = SSH
) -> bytes:
    """Run `command` on `host`, with `data` as its standard input; returns its standard output.

    The arguments of `command` reach the host as they are. ssh: the program with its options. Raises TargetError if the
    host cannot be reached, has no such program, or the command fails or takes longer than `seconds`.
    """
    try:
        done = subprocess.run([*ssh, host, shlex.join(command)], input=data, capture_output=True, timeout=seconds)
    except FileNotFoundError:
        raise TargetError("there is no ssh on this machine", todo="install an OpenSSH client") from None
    except subprocess.TimeoutExpired:
        raise TargetError(f"{host} has not answered within {seconds:.0f} s", where=host) from None
    if done.returncode == 0:
        return done.stdout
    raise failure_on_host(host, done.returncode, done.stderr.decode(errors="replace"))


def failure_on_host(host: str, code: int, errors: str) -> TargetError:
    """The error for a command that ended with `code` on `host`. errors: its standard error and ssh's."""
    last = next((line.strip() for line in reversed(errors.splitlines()) if line.strip()), f"exit code {code}")
    if code in NOT_FOUND or "No module named" in errors:
        return TargetError(
            f"{host} has no llmtui where this machine has it ({last})",
            where=host,
            todo=f"{install_command(host)}; or name its interpreter: python = … in a target of your own",
        )
    if code != SSH_FAILED:
        return TargetError(f"the command failed there: {last}", where=host)
    if "Permission denied" in errors:
        return TargetError(f"{host} does not accept a key of yours ({last})", where=host, todo=f"ssh-copy-id {host}")
    if "Host key verification failed" in errors:
        return TargetError(
            f"the key of {host} is not known or has changed", where=host, todo=f"see whether it is right: ssh {host}"
        )
    return TargetError(f"{host} cannot be reached ({last})", where=host, todo=f"see what this says: ssh {host}")


def install_command(host: str) -> str:
    """The command that installs this version of llmtui on `host`."""
    return f"ssh {host} python3 -m pip install llmtui=={__version__}"
