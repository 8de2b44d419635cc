"""Parts of a data preparation on a target: a command for each, one at a time on a host, or an array of a scheduler."""

from __future__ import annotations

import contextlib
import shlex
import subprocess
import sys
import time
from collections import deque
from collections.abc import Generator, Mapping, Sequence
from pathlib import Path
from typing import IO, NamedTuple

import msgspec
from msgspec import Struct

from core.storage.files import private, write_atomic
from core.targets.start import sbatch_options, variables_there
from core.targets.template import Target, Values, filled, shell_command

MODULE = "core.jobs.prepare_part"

WAIT_SECONDS = 0.25
"""Between two polls of the commands."""


class PartsJob(Struct, frozen=True, kw_only=True):
    """What is the same for all parts. The machines of the target see `folder` at the same path."""

    target: Target | None
    """None: this machine."""
    folder: Path
    """Gets `part-N.log`, the output of each part, and `job.log`, that of ssh or the scheduler."""
    recipe: Path
    """Its file."""
    parts: int
    id: str
    """Name of the job of a scheduler."""
    environment: Mapping[str, str]
    """Of processes on this machine."""

    @property
    def running(self) -> list[str]:
        """The command that prints something while a job of these parts exists; empty if there is none."""
        return [self._fill(part, self._values()) for part in self.target.template.running] if self.target else []

    @property
    def cancel(self) -> list[str]:
        """The command that ends that job; empty if there is none."""
        return [self._fill(part, self._values()) for part in self.target.template.cancel] if self.target else []

    @property
    def is_array(self) -> bool:
        """Whether one command starts all parts."""
        return self.target is not None and bool(self.target.template.array)

    def start(self, numbers: Sequence[int], host: str, log: IO[bytes]) -> subprocess.Popen[bytes]:
        """Start the command of the parts `numbers`; one, unless it is an array. Raises OSError, TargetError."""
        if self.target is None:
            arguments = [str(self.recipe), str(numbers[0]), str(self.parts), f"control-{numbers[0]}", "--attached"]
            with open(self.folder / f"part-{numbers[0]}.log", "ab", opener=private) as output:
                return subprocess.Popen(
                    [sys.executable, "-P", "-m", MODULE, *arguments],
                    cwd=self.folder,
                    env=dict(self.environment),
                    stdin=subprocess.PIPE,
                    stdout=output,
                    stderr=output,
                )
        command, script = self.command(self.target, numbers, host)
        if script:
            write_atomic(self.folder / "job.sh", script.encode(), durable=False)
        # what is not an array ends with its standard input, also on another host
        stdin = subprocess.DEVNULL if self.is_array else subprocess.PIPE
        return subprocess.Popen(command, stdin=stdin, stdout=log, stderr=log)

    def command(self, target: Target, numbers: Sequence[int], host: str) -> tuple[list[str], str]:
        """The command, and the script that it starts or nothing. Raises TargetError."""
        template = target.template
        number = template.part if template.array else str(numbers[0])
        shell = self._shell(number, variables_there(template, self.environment), template.python)
        values = self._values(numbers, host)
        options = list(template.options if template.part_options is None else template.part_options)
        if template.array:
            options.append(template.array)
        values = msgspec.structs.replace(values, options=sbatch_options(target, options, values), torchrun=shell)
        script = (
            self._fill(template.script, msgspec.structs.replace(values, torchrun=shlex.quote(shell)))
            if template.script
            else ""
        )
        return [self._fill(part, values) for part in template.command], script.lstrip("\n")

    def _shell(self, number: str, assignments: str, python: str) -> str:
        """The command of a part for the shell there. number: or an expression of that shell."""
        start = shell_command(MODULE, str(self.recipe), python=python)
        attached = "" if self.is_array else " --attached"
        return (
            f"cd {shlex.quote(str(self.folder))} && {assignments} exec {start} {number} {self.parts} "
            f'"control-{number}"{attached} >>"part-{number}.log" 2>&1'
        )

    def _values(self, numbers: Sequence[int] = (), host: str = "") -> Values:
        target, folder = self.target, self.folder
        number = target.template.part if target else ""
        return Values(
            id=self.id,
            run=shlex.quote(str(folder)),
            control=f'{shlex.quote(str(folder))}/"control-{number}"',
            log=str(folder / "job.log"),
            script_file=str(folder / "job.sh"),
            nodes=1,
            processes=1,
            node=0,
            host=host,
            first_host=host.rpartition("@")[2],
            argument=target.argument if target else "",
            options="",
            parts=",".join(map(str, numbers)),
        )

    def _fill(self, text: str, values: Values) -> str:
        assert self.target is not None
        return filled(text, values, f"target {self.target.name}")


class _Started(NamedTuple):
    host: str
    numbers: tuple[int, ...]
    process: subprocess.Popen[bytes]


def run_parts(job: PartsJob, numbers: Sequence[int], log: IO[bytes]) -> Generator[None, None, None]:
    """Start the parts `numbers` and wait for their end; yields several times a second. Closing it ends them.

    A host on which a part fails gets no other, and another host tries that part once more. Which parts are complete is
    for their artifacts to say. Raises OSError if a command cannot start, TargetError.
    """
    waiting = deque([tuple(numbers)] if job.is_array else [(number,) for number in numbers])
    free = deque(job.target.hosts if job.target and job.target.hosts else [""])
    failed: list[tuple[int, ...]] = []
    started: list[_Started] = []
    try:
        while started or (waiting and free):
            while waiting and free:
                host, group = free.popleft(), waiting.popleft()
                started.append(_Started(host, group, job.start(group, host, log)))
            for each in [each for each in started if each.process.poll() is not None]:
                started.remove(each)
                if each.process.returncode == 0:
                    free.append(each.host)
                elif each.numbers not in failed:
                    failed.append(each.numbers)
                    waiting.append(each.numbers)
            yield
            time.sleep(WAIT_SECONDS)
    finally:
        if started and job.cancel:
            subprocess.run(job.cancel, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        for each in started:
            if each.process.stdin is not None:
                each.process.stdin.close()
            with contextlib.suppress(ProcessLookupError):
                each.process.terminate()
            each.process.wait()
