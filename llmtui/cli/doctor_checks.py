"""The checks of `llmtui doctor`: what runs require of the system."""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import platform
import pwd
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from msgspec import Struct

from core.errors import DiskError, LlmtuiError
from core.hardware import machine
from core.model.matmul_speed import ProcessorReport
from core.plural import plural
from core.runs.launch import child_environment
from core.storage.locks import holder
from core.storage.workspace import Workspace, free_bytes
from llmtui.cli.console import is_interactive
from llmtui.clients.child_job import run_child_job
from llmtui.view.units import size

PACKAGES = ("torch", "textual", "datasets", "tiktoken", "tokenizers", "safetensors", "msgspec")
INSTALL_AGAIN = "install llmtui again"
LITTLE_SPACE = 2 * 10**9
"""Bytes; checkpoints of a few runs take as much."""
LITTLE_MEMORY = 4 * 10**9
"""Bytes; the demo's processes take up to 2 GiB, and the system some."""


class CheckResult(Struct, frozen=True, kw_only=True):
    level: Literal["ok", "warn", "fail"]
    about: str
    what: str
    advice: str = ""


def run_checks(workspace: Workspace) -> Iterator[CheckResult]:
    """Run all checks. Creates the data directory if it is missing."""
    yield _terminal()
    if os.environ.get("SSH_CONNECTION"):
        what = "over ssh" + (", in tmux" if os.environ.get("TMUX") else "")
        yield CheckResult(level="ok", about="session", what=f"{what}; runs continue when the connection ends")
    yield CheckResult(level="ok", about="python", what=f"{platform.python_version()} in {sys.prefix}")
    yield from _packages()
    yield _machine()
    yield _arithmetic(workspace)
    yield from _workspace(workspace)
    yield from _logout()
    if "microsoft" in platform.release().lower():
        yield CheckResult(
            level="warn",
            about="wsl",
            what="Windows ends this system soon after its last terminal closes, and runs with it",
            advice="keep a terminal open while a run is training",
        )


def _terminal() -> CheckResult:
    term = os.environ.get("TERM", "")
    colour = "no colour (NO_COLOR)" if os.environ.get("NO_COLOR") else os.environ.get("COLORTERM") or "256 colours"
    if is_interactive():
        columns, rows = os.get_terminal_size()
        if columns < 80 or rows < 24:
            what, advice = f"{term}, {columns}x{rows}", "80x24 shows everything; smaller ones show less"
            return CheckResult(level="warn", about="terminal", what=what, advice=advice)
        return CheckResult(level="ok", about="terminal", what=f"{term}, {columns}x{rows}, {colour}")
    piped = not (sys.stdin.isatty() and sys.stdout.isatty())
    what = "input or output is not a terminal" if piped else f"TERM is {term or 'not set'}, which is not supported"
    return CheckResult(level="warn", about="terminal", what=what, advice="all commands work, but not the workbench")


def _packages() -> Iterator[CheckResult]:
    """Versions from package metadata: importing torch takes seconds."""
    found, missing = [], []
    for name in PACKAGES:
        try:
            found.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            missing.append(name)
    yield CheckResult(level="ok", about="packages", what=", ".join(found))
    if missing:
        what = f"missing: {', '.join(missing)}"
        yield CheckResult(level="fail", about="packages", what=what, advice=INSTALL_AGAIN)


def _machine() -> CheckResult:
    found = machine()
    gpus = ", ".join(f"{gpu.name} {size(gpu.memory_total)}" for gpu in found.gpus) or "no GPU"
    what = f"{found.system}, {plural(found.cores, 'core')}, {size(found.memory)} memory, {gpus}"
    if found.memory < LITTLE_MEMORY:
        return CheckResult(level="warn", about="machine", what=what, advice="expect to train small models only")
    return CheckResult(level="ok", about="machine", what=what)


def _arithmetic(workspace: Workspace) -> CheckResult:
    """The number format of matrix products on the CPU, measured by a child process that imports torch."""
    try:
        (found,) = run_child_job(workspace, "core.model.matmul_speed", result_type=ProcessorReport)
    except OSError as error:
        what, advice = f"could not be measured: {error.strerror or error}", DiskError.from_oserror(error, "").todo
        return CheckResult(level="fail", about="arithmetic", what=what, advice=advice)
    except (LlmtuiError, ValueError) as error:
        what = error.what if isinstance(error, LlmtuiError) else str(error)
        return CheckResult(level="fail", about="arithmetic", what=f"torch does not work: {what}", advice=INSTALL_AGAIN)
    return CheckResult(level="ok", about="arithmetic", what=arithmetic(found))


def arithmetic(found: ProcessorReport) -> str:
    """The number format chosen for training on the CPU, with the measured rates."""
    bfloat16, float32 = found.speed.bfloat16, found.speed.float32
    times = (
        f"{bfloat16 / float32:.1f} times as fast" if bfloat16 >= float32 else f"{float32 / bfloat16:.1f} times as slow"
    )
    threads = plural(found.threads, "thread")
    return (
        f"trains in {found.number_format} on the CPU, including Muon's products: bfloat16 is {times} as float32 here "
        f"({bfloat16:,.3g} and {float32:,.3g} GFLOP/s by {found.library} with {found.instructions}, {threads})"
    )


def _workspace(workspace: Workspace) -> Iterator[CheckResult]:
    try:
        workspace.prepare()
    except LlmtuiError as error:
        yield CheckResult(level="fail", about="data", what=f"{error.what} ({error.where})", advice=error.todo)
        return
    free = free_bytes(workspace.data)
    if free < LITTLE_SPACE:
        advice = "delete runs (llmtui rm), or set LLMTUI_HOME to another disk"
        yield CheckResult(level="warn", about="data", what=f"{workspace.data}, only {size(free)} free", advice=advice)
    else:
        yield CheckResult(level="ok", about="data", what=f"{workspace.data}, {size(free)} free")
    if locks_work(workspace):
        yield CheckResult(level="ok", about="locks", what="record locks work in the data directory")
    else:
        yield CheckResult(
            level="fail",
            about="locks",
            what=f"record locks do not work in {workspace.data}, so it is unknown which runs are running",
            advice="set LLMTUI_HOME to a local disk; sshfs and some network file systems lack them",
        )


_HOLD = (
    "import sys; from pathlib import Path; from core.storage.locks import Lock; "
    "lock = Lock.acquire(Path(sys.argv[1])); print(flush=True); sys.stdin.read()"
)


def locks_work(workspace: Workspace) -> bool:
    """Whether a lock held by another process is visible in the data directory, and released when it is killed."""
    with tempfile.TemporaryDirectory(dir=workspace.data, prefix=".doctor-") as directory:
        lock = Path(directory) / "lock"
        lock.touch()
        with subprocess.Popen(
            [sys.executable, "-P", "-c", _HOLD, str(lock)],
            env=child_environment(workspace),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        ) as process:
            assert process.stdout is not None
            process.stdout.readline()
            with contextlib.suppress(OSError):
                held = holder(lock) == process.pid
                process.kill()
                process.wait()
                return held and holder(lock) is None
            process.kill()
    return False


def _logout() -> Iterator[CheckResult]:
    """Whether systemd-logind kills a user's processes when the last session closes."""
    texts = []
    folders = (Path("/usr/lib/systemd"), Path("/etc/systemd"))
    for file in (*(f / "logind.conf" for f in folders), *(p for f in folders for p in f.glob("logind.conf.d/*.conf"))):
        with contextlib.suppress(OSError, UnicodeDecodeError):
            texts.append(file.read_text("utf-8"))
    if not texts:
        return
    if not kills_user_processes("\n".join(texts)) or _lingers():
        yield CheckResult(level="ok", about="logout", what="runs continue after logging out")
    else:
        yield CheckResult(
            level="warn",
            about="logout",
            what="this system ends your processes when you log out (KillUserProcesses=yes)",
            advice="loginctl enable-linger, then start runs with: systemd-run --user --scope llmtui run …",
        )


def kills_user_processes(configuration: str) -> bool:
    """KillUserProcesses in logind's configuration files, concatenated in order; False if it is not mentioned.

    The default is chosen when systemd is built (upstream: yes, most distributions: no); the commented line in
    logind.conf shows it.
    """
    settings = re.findall(r"^\s*(#?)\s*KillUserProcesses\s*=\s*(\S+)", configuration, flags=re.MULTILINE)
    values = [value for comment, value in settings if not comment] or [value for _, value in settings]
    return bool(values) and values[-1].lower() in ("yes", "true", "on", "1")


def _lingers() -> bool:
    with contextlib.suppress(KeyError, OSError):
        return (Path("/var/lib/systemd/linger") / pwd.getpwuid(os.geteuid()).pw_name).exists()
    return False
