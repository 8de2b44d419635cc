"""What a list of a thousand runs costs: `python -m benchmarks.runs`.

Copies of one finished run, read as the workbench reads them: the newest ones before its first frame, all others right
after it, then some of them at each tick. Processor time, in a process that has just started.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

from benchmarks.harness import Figure, Measurement, home, interleaved, options, report
from benchmarks.steady import make_runs
from core.storage.workspace import Workspace

READ = """
import asyncio, json, time
from core.storage.workspace import Workspace
from llmtui.tui.run_watcher import RunWatcher

async def main():
    watcher, seconds = RunWatcher(Workspace(), lambda message: None, 0.5), []
    for _ in range(12):
        started = time.process_time()
        await watcher.refresh()
        seconds.append(time.process_time() - started)
    print(json.dumps({"first": seconds[0], "all": sum(seconds[:2]), "tick": sum(seconds[2:]) / 10,
                      "runs": len(watcher.snapshots)}))

asyncio.run(main())
"""


def make_copies(workspace: Workspace, number: int) -> None:
    """Make `number` finished runs, all but one of them copies."""
    make_runs(workspace, 1)
    (done,) = workspace.runs.iterdir()
    for copy in range(number - 1):
        shutil.copytree(done, Path(f"{workspace.runs / '20200101-000000-copy'}-{copy:04x}"))


def read() -> Measurement:
    done = subprocess.run([sys.executable, "-c", READ], capture_output=True, check=True)
    medians: dict[str, float] = json.loads(done.stdout)
    return medians


def main() -> int:
    chosen = options(__doc__)
    runs = 50 if chosen.quick else 1_000
    with home():
        make_copies(Workspace().prepare(), runs)
        medians = interleaved({"read": read}, rounds=1 if chosen.quick else 5)["read"]
    assert medians["runs"] == runs
    return report(
        [
            Figure(name="newest runs, before the first frame", value=medians["first"], unit="s"),
            Figure(name=f"all {runs} runs", value=medians["all"], unit="s", at_most=0.5),
            Figure(name="a tick after that", value=1000 * medians["tick"], unit="ms", at_most=25),
        ],
        chosen,
    )


if __name__ == "__main__":
    sys.exit(main())
