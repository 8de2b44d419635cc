"""What the workbench costs while a run trains: bytes to the terminal per update, and processor time.

The real program in a pseudo-terminal of three sizes, on the screen of a run that takes ten steps a second.
"""

from __future__ import annotations

import subprocess
import sys

from benchmarks.harness import LLMTUI, Figure, Measurement, home, interleaved, options, report
from benchmarks.terminal import Terminal
from core.recipe.file import load
from core.runs.directory import Run
from core.storage.workspace import Workspace

HERTZ = 2
"""Updates a second that the workbench makes by default."""
TARGETS = {(80, 24): 3_000, (120, 40): 6_000, (200, 60): 12_000}
"""Bytes per update, by size of the terminal."""
CPU_TARGET = 5.0
"""Percent of one core."""
SETTLE = 3.0
"""Seconds until the screen stands and the history has been read."""


def cost(run: Run, size: tuple[int, int], seconds: float) -> Measurement:
    with Terminal([*LLMTUI, "watch", run.id], *size) as terminal:
        terminal.wait_for(run.name)
        terminal.watch(SETTLE)
        written, processor = terminal.watch(seconds)
    return {"bytes": written / (seconds * HERTZ), "percent": 100 * processor / seconds}


def main() -> int:
    chosen = options(__doc__)
    seconds = 5.0 if chosen.quick else 20.0
    with home():
        run = Run.create(Workspace().prepare(), load(preset="demo", overrides=["name=steady"]))
        worker = subprocess.Popen([sys.executable, "-m", "benchmarks.steady", str(run.path)])
        try:
            medians = interleaved(
                {f"{size[0]}x{size[1]}": lambda size=size: cost(run, size, seconds) for size in TARGETS},  # type: ignore[misc]
                rounds=1 if chosen.quick else 3,
            )
        finally:
            worker.kill()
            worker.wait()
    figures = [
        Figure(name=f"{name}, output per update", value=medians[name]["bytes"], unit="B", at_most=target)
        for name, target in zip(medians, TARGETS.values(), strict=True)
    ]
    figures += [
        Figure(name=f"{name}, of one core", value=medians[name]["percent"], unit="%", at_most=CPU_TARGET)
        for name in medians
    ]
    return report(figures, chosen)


if __name__ == "__main__":
    sys.exit(main())
