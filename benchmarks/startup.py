"""How long until there is something to see: the workbench's first frame and its list of runs, and `llmtui ls`.

The workbench is measured against `import textual` on the same machine in the same minutes: what it takes on top is
ours. Both are real programs in a pseudo-terminal, from the start of the process to the text on the screen. And what
Optuna takes, which is why a child job imports it: the time of the import, and the memory that it adds to a process.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from importlib.util import find_spec

from benchmarks.harness import LLMTUI, Figure, Measurement, home, interleaved, options, report
from benchmarks.steady import make_runs
from benchmarks.terminal import Terminal
from core.storage.workspace import Workspace

RUNS = 5
"""Finished runs that the first screen has to list."""


def seconds_until(text: str, command: Sequence[str]) -> Measurement:
    with Terminal(command) as terminal:
        return {"anything": terminal.wait_for(), "text": terminal.wait_for(text)}


OPTUNA = """
import json, time
import psutil
import core.tune.tpe
process, start = psutil.Process(), time.perf_counter()
before = process.memory_info().rss
core.tune.tpe.load_optuna()
from optuna import samplers
print(json.dumps({"s": time.perf_counter() - start, "MB": (process.memory_info().rss - before) / 1e6}))
"""


def optuna_import() -> Measurement:
    """Seconds and megabytes of importing Optuna as TPE needs it, in a process that has our modules already."""
    printed = subprocess.run([sys.executable, "-P", "-c", OPTUNA], check=True, capture_output=True).stdout
    measured: dict[str, float] = json.loads(printed)
    return measured


def main() -> int:
    chosen = options(__doc__)
    with home():
        names = make_runs(Workspace().prepare(), RUNS)
        medians = interleaved(
            {
                "import": lambda: seconds_until("ready", [sys.executable, "-c", "import textual; print('ready')"]),
                "python": lambda: seconds_until("ready", [sys.executable, "-c", "print('ready')"]),
                "workbench": lambda: seconds_until(names[0], LLMTUI),
                "ls": lambda: seconds_until(names[0], [*LLMTUI, "ls"]),
            },
            rounds=1 if chosen.quick else 7,
        )
        optuna = {}
        if find_spec("optuna"):
            optuna = interleaved({"optuna": optuna_import}, rounds=1 if chosen.quick else 7)["optuna"]
    seconds = {name: measured["text"] for name, measured in medians.items()}
    first, listed, textual = medians["workbench"]["anything"], seconds["workbench"], seconds["import"]
    return report(
        [
            Figure(name="python, nothing imported", value=seconds["python"], unit="s"),
            Figure(name="import textual", value=textual, unit="s"),
            Figure(name="workbench, first frame", value=first, unit="s", ratio=first / textual),
            Figure(name="workbench, first frame beyond import", value=first - textual, unit="s", at_most=0.4),
            Figure(name="workbench, runs listed", value=listed, unit="s", ratio=listed / textual),
            Figure(
                name="llmtui ls", value=seconds["ls"], unit="s", at_most=0.5, ratio=seconds["ls"] / seconds["python"]
            ),
            *(Figure(name="import optuna, in addition", value=value, unit=unit) for unit, value in optuna.items()),
        ],
        chosen,
    )


if __name__ == "__main__":
    sys.exit(main())
