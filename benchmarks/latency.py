"""How long a key takes to change the screen while a training takes all cores: `python -m benchmarks.latency`.

The real workbench in a pseudo-terminal, first alone, then beside a real training of the demo's model. A key counts as
answered when what it changes stands on the screen: another run, the values of another step, the typed letter. What the
machine itself takes, with a process that only writes back what it reads, is measured in the same minutes.
"""

from __future__ import annotations

import itertools
import random
import re
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from msgspec import Struct

from benchmarks.harness import LLMTUI, Figure, home, options, report
from benchmarks.steady import make_runs
from benchmarks.terminal import Terminal
from core.recipe.file import load
from core.runs import launch
from core.runs.control import request_stop
from core.runs.directory import Run
from core.storage.workspace import Workspace

ECHO = (
    sys.executable,
    "-c",
    "import os, tty; tty.setraw(0); os.write(1, b'ready')\nwhile 1: os.write(1, os.read(0, 9))",
)
SIZE = 120, 40
PAUSE = 0.15, 0.45
"""Seconds between two keys, at random: not in step with the updates of the screen."""
TARGET = 0.05
"""Seconds, of 95 of 100 keys."""
PATIENCE = 60.0
"""Seconds to wait for the answer to a key."""
MINUTES = 30
"""Of training: longer than all this takes."""


class Keys(Struct, frozen=True, kw_only=True):
    """Keys of which each changes the same part of the screen."""

    command: Sequence[str]
    ready: str
    """What stands on the screen once it can be used."""
    opening: Sequence[str] = ()
    """Pressed once, before the others."""
    keys: Sequence[str]
    """Pressed in turn."""
    watched: Callable[[Terminal], object]
    """What each of them changes on the screen."""


def text(pattern: str) -> Callable[[Terminal], str]:
    """The first match of a regular expression."""
    return lambda terminal: (re.search(pattern, "\n".join(terminal.screen.display)) or [""])[0]


def marked_rows(terminal: Terminal) -> list[int]:
    """Rows in reverse video: that of the cursor of a list."""
    screen = terminal.screen
    return [row for row in range(screen.lines) if screen.buffer[row][6].reverse]


def keys_by_name(finished: Sequence[str], run: str) -> dict[str, Keys]:
    """What is measured. finished: names of runs that are listed; run: the one whose charts are shown."""
    workbench, train = [*LLMTUI], [*LLMTUI, "watch", run]
    left, right, down, up = "\x1b[D", "\x1b[C", "\x1b[B", "\x1b[A"
    return {
        "echo": Keys(command=ECHO, ready="ready", keys="ab", watched=text(r"ready.*\S")),
        "another run": Keys(command=workbench, ready=finished[0], keys=[down, up], watched=marked_rows),
        "cursor of the charts": Keys(
            command=train, ready=run, opening=["v"], keys=[left, right], watched=text(r"│ step [\d,]+ ·")
        ),
        "other screen": Keys(command=workbench, ready=finished[0], keys="31", watched=text(r"\A.*\n.*\n")),
        "letter in the chat": Keys(
            command=workbench, ready=finished[0], opening=["5"], keys="abcdefgh", watched=text(r"╭─+╮\n.*\n")
        ),
    }


def pressed(keys: Keys, count: int, noise: random.Random) -> list[float]:
    """Seconds that each of `count` keys took. Raises TimeoutError, EOFError."""
    with Terminal(keys.command, *SIZE) as terminal:
        terminal.wait_for(keys.ready)
        for key in ("", *keys.opening):
            terminal.send(key)
            terminal.watch(3.0)
        return [answered(terminal, keys, key, noise) for key in itertools.islice(itertools.cycle(keys.keys), count)]


def answered(terminal: Terminal, keys: Keys, key: str, noise: random.Random) -> float:
    """Seconds until `key` has changed what is watched."""
    terminal.watch(noise.uniform(*PAUSE))
    before, sent = keys.watched(terminal), time.perf_counter()
    terminal.send(key)
    while time.perf_counter() < sent + PATIENCE:
        if terminal.read(0.1) and keys.watched(terminal) != before:
            return terminal.read_at - sent
    raise TimeoutError(f"{key!r} changed nothing; the screen shows\n" + "\n".join(terminal.screen.display).rstrip())


@contextmanager
def training(workspace: Workspace) -> Iterator[Run]:
    """A run of the demo's model that has begun to train, in processes of its own."""
    run = Run.create(workspace, load(preset="demo", overrides=["name=busy", f"train.minutes={MINUTES}"]))
    launch.start(run, workspace)
    try:
        while (metric := run.summary().metric) is None or metric.step < 20:  # the cursor needs steps to move over
            time.sleep(0.5)
            if not run.state().is_active:
                raise SystemExit(f"the training ended: {run.log.read_text() or run.end_event()}")
        yield run
    finally:
        request_stop(run)
        if not launch.wait_until_ended(run, 60):
            launch.kill(run)


def percentile(seconds: Sequence[float], percent: int) -> float:
    return statistics.quantiles(seconds, n=100, method="inclusive")[percent - 1]


def figures(measured: dict[str, list[float]], where: str, at_most: float | None) -> list[Figure]:
    """Median, 95th percentile and worst of each kind of key."""
    parts: dict[str, Callable[[list[float]], float]] = {
        "median": statistics.median,
        "95th percentile": lambda seconds: percentile(seconds, 95),
        "worst": max,
    }
    return [
        Figure(
            name=f"{name}, {where}, {part}",
            value=1000 * of(seconds),
            unit="ms",
            at_most=1000 * at_most if at_most and part == "95th percentile" and name != "echo" else None,
        )
        for name, seconds in measured.items()
        for part, of in parts.items()
    ]


def main() -> int:
    chosen = options(__doc__)
    count, noise = 10 if chosen.quick else 60, random.Random(1)
    with home():
        workspace = Workspace().prepare()
        names = make_runs(workspace, 5)
        alone = {name: pressed(keys, count, noise) for name, keys in keys_by_name(names, names[0]).items()}
        with training(workspace) as run:
            beside = {name: pressed(keys, count, noise) for name, keys in keys_by_name(names, run.name).items()}
    return report([*figures(alone, "alone", None), *figures(beside, "beside training", TARGET)], chosen)


if __name__ == "__main__":
    sys.exit(main())
