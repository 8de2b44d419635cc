"""How long until there is something to see: the workbench's first frame, and `llmtui ls`.

The workbench is measured against `import textual` on the same machine in the same minutes: what it takes on top is
ours. Both are real programs in a pseudo-terminal, from the start of the process to the text on the screen.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from benchmarks.harness import LLMTUI, Figure, Measurement, home, interleaved, options, report
from benchmarks.steady import make_runs
from benchmarks.terminal import Terminal
from core.workspace import Workspace

RUNS = 5
"""Finished runs that the first screen has to list."""


def seconds_until(text: str, command: Sequence[str]) -> Measurement:
    with Terminal(command) as terminal:
        return {"seconds": terminal.wait_for(text)}


def main() -> int:
    asked = options(__doc__)
    with home():
        names = make_runs(Workspace().prepare(), RUNS)
        found = interleaved(
            {
                "import": lambda: seconds_until("ready", [sys.executable, "-c", "import textual.app; print('ready')"]),
                "python": lambda: seconds_until("ready", [sys.executable, "-c", "print('ready')"]),
                "workbench": lambda: seconds_until(names[0], LLMTUI),
                "ls": lambda: seconds_until(names[0], [*LLMTUI, "ls"]),
            },
            rounds=1 if asked.quick else 7,
        )
    seconds = {name: measured["seconds"] for name, measured in found.items()}
    return report(
        [
            Figure(name="python, nothing imported", value=seconds["python"], unit="s"),
            Figure(name="import textual.app", value=seconds["import"], unit="s"),
            Figure(
                name="workbench, first frame",
                value=seconds["workbench"],
                unit="s",
                ratio=seconds["workbench"] / seconds["import"],
            ),
            Figure(
                name="workbench beyond import textual.app",
                value=seconds["workbench"] - seconds["import"],
                unit="s",
                at_most=0.5,
            ),
            Figure(
                name="llmtui ls", value=seconds["ls"], unit="s", at_most=0.5, ratio=seconds["ls"] / seconds["python"]
            ),
        ],
        asked,
    )


if __name__ == "__main__":
    sys.exit(main())
