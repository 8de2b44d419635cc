"""Starting a run on a target: the commands of its template, and waiting for their end."""

from __future__ import annotations

import contextlib
import math
import secrets
import shlex
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO

import msgspec
from msgspec import Struct

from core.storage.files import write_atomic
from core.targets.template import Target, Template, Values, filled, shell_command

PEERS_END = 60.0
"""Seconds in which the other nodes end when one has failed: their ranks lose a peer."""

CHECK_EVERY = 5.0
"""Seconds between two questions whether an earlier job of the run still exists."""

WAIT_SECONDS = 0.25
"""Between two polls of the commands."""

FORWARDED = ("PYTHONPATH", "PYTHONSAFEPATH", "PYTHONUNBUFFERED", "PYTHONUTF8", "GOMP_SPINCOUNT", "LLMTUI_HOME")
"""Variables of this process that hold for the workers on other machines, too."""


class Plan(Struct, frozen=True, kw_only=True):
    """What is started for an attempt at a run."""

    commands: list[list[str]]
    script: str = ""
    script_file: Path | None = None
    running: list[str] = []
    cancel: list[str] = []


def plan_start(
    target: Target, run: Path, attempt: int, *, nodes: int, processes: int, environment: Mapping[str, str]
) -> Plan:
    """The commands that start `attempt` at the run in directory `run`. Raises TargetError.

    nodes: how many; processes: of all nodes together. environment: of this process.
    """
    template, each, port = target.template, max(1, processes // nodes), 20_000 + secrets.randbelow(20_000)
    values = Values(
        id=run.name,
        run=shlex.quote(str(run)),
        control=shlex.quote(str(run / "control")),
        log=str(run / "log.txt"),
        script_file=str(run / "job.sh"),
        nodes=nodes,
        processes=each,
        node=0,
        host="",
        first_host=target.hosts[0].rpartition("@")[2] if target.hosts else "",
        argument=target.argument,
        options="",
    )

    def fill(text: str, of: Values) -> str:
        return filled(text, of, f"target {target.name}")

    values = msgspec.structs.replace(values, options=sbatch_options(target, template.options, values))
    variables = variables_there(template, environment)
    commands, script = [], ""
    for node in range(nodes if template.start == "node" else 1):
        of = msgspec.structs.replace(values, node=node, host=target.hosts[node] if target.hosts else "")
        rendezvous = f"{fill(template.rendezvous, of)}:{port}"
        torchrun = _torchrun(run, attempt, of, rendezvous, fill(template.node_rank, of), variables, template.python)
        of = msgspec.structs.replace(of, torchrun=torchrun)
        commands.append([fill(part, of) for part in template.command])
        script = fill(template.script, msgspec.structs.replace(of, torchrun=shlex.quote(torchrun)))
    return Plan(
        commands=commands,
        script=script.lstrip("\n"),
        script_file=run / "job.sh" if script else None,
        running=[fill(part, values) for part in template.running],
        cancel=[fill(part, values) for part in template.cancel],
    )


def sbatch_options(target: Target, options: Sequence[str], values: Values) -> str:
    """The lines `#SBATCH …` of a script: `options`, filled with `values`, and the partition that was named."""
    has_partition = target.template.argument == "partition" and target.argument
    options = [*options, *([f"--partition={target.argument}"] if has_partition else [])]
    return "\n".join(f"#SBATCH {filled(option, values, f'target {target.name}')}" for option in options)


def variables_there(template: Template, environment: Mapping[str, str]) -> str:
    """Assignments for the shell of another machine. environment: of this process."""
    variables = {name: environment[name] for name in FORWARDED if name in environment} | template.environment
    return " ".join(f"{name}={shlex.quote(value)}" for name, value in variables.items())


def _torchrun(
    run: Path, attempt: int, values: Values, rendezvous: str, node_rank: str, assignments: str, python: str
) -> str:
    """The command that starts the workers of a node, for the shell there."""
    # threads of each process; torchrun would give it one
    threads = f"OMP_NUM_THREADS=$(( $(nproc) > {values.processes} ? $(nproc) / {values.processes} : 1 ))"
    options = (
        f"--nnodes={values.nodes} --nproc-per-node={values.processes} --node-rank={node_rank} --rdzv-backend=static "
        f'--rdzv-endpoint="{rendezvous}" --rdzv-id={shlex.quote(values.id)}'
    )
    start = shell_command("torch.distributed.run", python=python)
    worker = shlex.join(["-m", "core.worker", str(run), str(attempt)])
    return f"cd {values.run} && {assignments} {threads} exec {start} {options} {worker}"


def run_on_target(plan: Plan, log: IO[bytes], is_given_up: Callable[[], bool]) -> int:
    """Start the commands and wait until all have ended; returns the first exit code that is not 0, or 0.

    An earlier job of the run, whose supervisor died, is waited for first. is_given_up: whether the job is to be
    cancelled, such as one that waits in the scheduler's queue. Raises OSError if a command cannot start.
    """
    while has_job(plan.running) and not is_given_up():
        time.sleep(CHECK_EVERY)
    if plan.script_file is not None:
        write_atomic(plan.script_file, plan.script.encode(), durable=False)
    started: list[subprocess.Popen[bytes]] = []
    try:
        for command in plan.commands:
            started.append(subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log))
    except OSError:
        _end(started)
        raise
    return _wait(started, plan, log, is_given_up)


def cancel_command(target: Target, run: Path) -> str:
    """The command for the user that ends the job of the run in directory `run`; empty if it has none.

    Such a job waits or trains although the run's supervisor is gone. Raises TargetError.
    """
    plan = plan_start(target, run, 0, nodes=1, processes=1, environment={})
    try:
        return shlex.join(plan.cancel) if has_job(plan.running) else ""
    except OSError:  # this machine has no such scheduler any more
        return ""


def has_job(running: Sequence[str]) -> bool:
    """Whether a job exists, by the command `running` of a template, which may be empty."""
    if not running:
        return False
    done = subprocess.run(running, stdin=subprocess.DEVNULL, capture_output=True)
    return done.returncode == 0 and bool(done.stdout.strip())


def _wait(started: list[subprocess.Popen[bytes]], plan: Plan, log: IO[bytes], is_given_up: Callable[[], bool]) -> int:
    failed, deadline = 0, math.inf
    while any(process.poll() is None for process in started):
        codes = [process.poll() for process in started]
        if not failed and (code := next((code for code in codes if code), 0)):
            failed, deadline = code, time.monotonic() + PEERS_END
        if time.monotonic() > deadline:
            _end(started)
        if is_given_up():
            if plan.cancel:
                subprocess.run(plan.cancel, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
            _end(started)
        time.sleep(WAIT_SECONDS)
    return failed or next((process.returncode for process in started if process.returncode), 0)


def _end(started: Sequence[subprocess.Popen[bytes]]) -> None:
    for process in started:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
