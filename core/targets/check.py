"""Whether a target can be used: hosts, keys, versions, clocks, GPUs and shared files; Slurm and its partitions."""

from __future__ import annotations

import secrets
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

from msgspec import Struct

from core import ROOT, __version__
from core.errors import did_you_mean
from core.parsing import ParseError, parse_json
from core.storage.workspace import Workspace
from core.targets.probe import HostFacts
from core.targets.ssh import install_command, run_on_host
from core.targets.template import Target, TargetError

CLOCK_SECONDS = 5.0
"""Difference between two clocks, beyond the duration of the request, that is reported: event times would not fit."""

LITTLE_DISK = 2 * 10**9
"""Bytes; a few checkpoints of a small model."""


class Finding(Struct, frozen=True, kw_only=True):
    """One result of a check."""

    ok: bool
    about: str
    what: str
    todo: str = ""


def check_target(target: Target, workspace: Workspace) -> Iterator[Finding]:
    """Check the target, all hosts at once."""
    program = target.template.command[0]
    if shutil.which(program) is None:
        yield Finding(ok=False, about=target.name, what=f"there is no {program} on this machine")
        return
    if target.hosts:
        yield from _check_hosts(target, workspace)
    if program == "sbatch":
        yield from _check_slurm(target)


def _check_hosts(target: Target, workspace: Workspace) -> Iterator[Finding]:
    token = f".target-{secrets.token_hex(8)}"
    (workspace.data / token).touch(0o600)
    command = [target.template.python or sys.executable, "-P", "-m", "core.targets.probe", str(workspace.data), token]
    variables = [f"{name}={value}" for name, value in target.template.environment.items()]

    ssh = target.template.command[: target.template.command.index("{host}")]

    def probe(host: str) -> tuple[HostFacts | TargetError, float]:
        began = time.time()
        try:
            answer = run_on_host(host, ["env", *variables, *_source(), *command], ssh=ssh)
            return parse_json(answer.splitlines()[-1], HostFacts), time.time() - began
        except TargetError as error:
            return error, 0.0
        except (ParseError, IndexError) as error:
            return TargetError(f"{host} gave no answer of llmtui ({error})", where=host), 0.0

    try:
        with ThreadPoolExecutor(max_workers=16) as pool:
            answers = list(pool.map(probe, target.hosts))
    finally:
        (workspace.data / token).unlink(missing_ok=True)
    for host, (answer, seconds) in zip(target.hosts, answers, strict=True):
        if isinstance(answer, TargetError):
            yield Finding(ok=False, about=host, what=answer.what, todo=answer.todo)
        else:
            yield from _judge(host, answer, time.time() - answer.clock, seconds, workspace)
    gpus = {tuple(answer.gpus) for answer, _ in answers if isinstance(answer, HostFacts)}
    if len(gpus) > 1:
        yield Finding(
            ok=False,
            about=target.name,
            what="the hosts have different GPUs: each step takes as long as on the slowest",
        )


def _source() -> list[str]:
    """The variable with which an interpreter there finds a llmtui that is not installed, but a checkout."""
    return [] if "site-packages" in ROOT.parts else [f"PYTHONPATH={ROOT}"]


def _judge(host: str, facts: HostFacts, late: float, seconds: float, workspace: Workspace) -> Iterator[Finding]:
    if facts.version != __version__:
        what = f"it has llmtui {facts.version}, this machine {__version__}"
        yield Finding(ok=False, about=host, what=what, todo=install_command(host))
        return
    if not facts.shares_data:
        yield Finding(
            ok=False,
            about=host,
            what=f"it does not see the data directory {workspace.data}",
            todo="mount it there at the same path; runs and texts are read from it",
        )
        return
    if abs(late) > CLOCK_SECONDS + seconds:
        what = f"its clock is {abs(late):.0f} s {'behind' if late > 0 else 'ahead'}"
        yield Finding(ok=False, about=host, what=what, todo="let it be set by NTP")
    if facts.free_disk < LITTLE_DISK:
        yield Finding(ok=False, about=host, what=f"{facts.free_disk / 1e9:.1f} GB are free in the data directory")
    what = f"{facts.machine}, load {facts.load:.1f} per core, llmtui {facts.version}, sees the data directory"
    yield Finding(ok=True, about=host, what=what)


def _check_slurm(target: Target) -> Iterator[Finding]:
    command = ["sinfo", "--noheader", "--format", "%R|%a|%D|%c|%G|%l"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired) as error:
        yield Finding(ok=False, about="slurm", what=f"sinfo does not answer ({error})")
        return
    if done.returncode:
        yield Finding(ok=False, about="slurm", what=f"sinfo failed: {done.stderr.strip()}")
        return
    rows = [line.split("|") for line in done.stdout.splitlines() if line.count("|") == 5]
    partitions = sorted({row[0] for row in rows})
    if target.argument and target.argument not in partitions:
        todo = did_you_mean(target.argument, partitions) or f"there are {', '.join(partitions)}"
        yield Finding(ok=False, about="slurm", what=f"there is no partition {target.argument!r}", todo=todo)
        return
    for name, available, nodes, cores, gpus, limit in rows:
        if target.argument in ("", name):
            what = f"{nodes} nodes of {cores} cores, GPUs {gpus}, limit {limit}, {available}"
            yield Finding(ok=available == "up", about=f"partition {name}", what=what)
