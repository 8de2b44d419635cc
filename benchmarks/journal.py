"""What a long journal costs whoever opens it, and runs that are over an idle workbench: `python -m benchmarks.journal`.

The journal is one of a million steps, made for the purpose. `resume` begins with the status, a worker and the screens
with the curves, which both say how far in the journal they go; "all of it" is what they do where those are lost. Memory
is the most that the process has above what it had before. The runs are 500 copies of one that is done.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
import sys
import time

from benchmarks.harness import Figure, home, options, report
from benchmarks.runs import make_copies
from core.events import AttemptStarted, Metric, StageStarted, encode
from core.recipe.file import load
from core.runs.curves import Curves
from core.runs.directory import Run
from core.runs.journal_snapshot import write_snapshot
from core.runs.journal_window import StepWindow
from core.storage.journal import JournalWriter
from core.storage.workspace import Workspace
from llmtui.tui.chart_table import CHARTS
from llmtui.tui.run_watcher import RunWatcher
from llmtui.tui.widgets.chart import Chart
from llmtui.tui.widgets.curve import Curve
from llmtui.view.history import History
from llmtui.view.step_axis import Window

RUNS = 500
REFRESHES = 20
HERTZ = 2

OPEN = """
import json, resource, sys, time
from pathlib import Path
from core.runs.directory import Run
from core.runs.summary import Summary

def peak():
    status = Path("/proc/self/status")  # Linux hands the parent's peak on in ru_maxrss
    if status.exists():
        return int(status.read_text().partition("VmHWM:")[2].split()[0]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # macOS: in bytes

run = Run.open(Path(sys.argv[1]))
before, started = peak(), time.perf_counter()
kept, rest = run.load_summary() if sys.argv[2] == "status" else run.load_curves()
for event in rest.iter_events():
    kept.absorb(event)
took = time.perf_counter() - started
summary = kept if isinstance(kept, Summary) else kept.summary
print(json.dumps({"seconds": took, "MB": (peak() - before) / 1e6, "step": summary.metric.step}))
"""


def long_journal(workspace: Workspace, steps: int) -> Run:
    """A run of so many steps, whose worker is gone.

    Its status lacks the last 50 lines, its curves those of ten seconds.
    """
    run = Run.create(workspace, load(preset="demo"))
    curves = Curves()
    lines = JournalWriter(run.journal)
    for event in (AttemptStarted(attempt=1, pid=1, host="here", device="2 cores"), StageStarted(stage="train")):
        lines.append(encode(event))
        curves.absorb(event)
    lines.close()
    with run.journal.open("ab") as file:
        for step in range(1, steps + 1):
            share = step / steps
            metric = Metric(
                step=step,
                loss=2 + 1 / step,
                lr=1e-3 * (1 - share),
                grad_norm=0.4 + share / 3,
                tokens=4096 * step,
                seconds=step / 70,
                progress=share,
            )
            file.write(encode(metric) + b"\n")
            curves.absorb(metric)
            for name, kept, steps_behind in (("curves", curves, 700), ("status", curves.summary, 50)):
                if step == steps - steps_behind:
                    file.flush()
                    write_snapshot(run.path / f"{name}.json", kept, run.journal, file.tell())
    return run


def opened(run: Run, kept: str) -> dict[str, float]:
    """What it costs another process to read the journal, starting from the snapshot `kept`."""
    done = subprocess.run([sys.executable, "-c", OPEN, str(run.path), kept], capture_output=True, check=True)
    seconds_and_bytes: dict[str, float] = json.loads(done.stdout)
    return seconds_and_bytes


def drawn_charts(run: Run, steps: int) -> tuple[float, float]:
    """Seconds of processor time to read the steps of a part of the run, and to draw its charts after moving on."""
    started = time.process_time()
    assert StepWindow(run.journal, steps // 2, steps // 2 + min(steps // 4, 20_000)).read()
    read = time.process_time() - started
    history = History(run)
    history.curves, rest = run.load_curves()
    history.absorb(rest.iter_events())
    charts = [(entry, Chart(entry.title)) for entry in CHARTS]
    for end in (0.7 * steps, 0.8 * steps):
        started = time.process_time()
        for entry, chart in charts:
            chart.curves = [
                Curve(c.name, c.series(history), c.role, c.smoothing or 0.9, c.marks, c.convert(history))
                for c in entry.curves
            ]
            chart.window, chart.last_step = Window(steps / 2, end), steps
            chart.lines(100, 30)
    return read, time.process_time() - started


def watching(workspace: Workspace) -> float:
    """The share of a core, in percent, that refreshing all runs takes."""
    watcher = RunWatcher(workspace, lambda message: None, 1 / HERTZ)

    async def refresh() -> float:
        await watcher.refresh()
        assert len(watcher.snapshots) >= RUNS
        started = time.process_time()
        for _ in range(REFRESHES):
            await watcher.refresh()
        return (time.process_time() - started) / REFRESHES * HERTZ * 100

    return asyncio.run(refresh())


def main() -> int:
    chosen = options(__doc__)
    with home():
        workspace = Workspace().prepare()
        run = long_journal(workspace, 20_000 if chosen.quick else 1_000_000)
        read, moved = drawn_charts(run, 20_000 if chosen.quick else 1_000_000)
        size, with_status, with_curves = run.journal.stat().st_size, opened(run, "status"), opened(run, "curves")
        (run.path / "curves.json").unlink()
        whole = opened(run, "curves")
        shutil.rmtree(run.path)
        make_copies(workspace, RUNS)
        share = watching(workspace)
    assert with_status["step"] == with_curves["step"] == whole["step"]
    return report(
        [
            Figure(name="journal", value=size / 1e6, unit="MB"),
            Figure(name="begin with the status", value=with_status["seconds"], unit="s", at_most=0.1),
            Figure(name="begin with the status, memory", value=with_status["MB"], unit="MB", at_most=10),
            Figure(name="begin with the curves", value=with_curves["seconds"], unit="s", at_most=0.1),
            Figure(name="begin with the curves, memory", value=with_curves["MB"], unit="MB", at_most=20),
            Figure(name="steps of a part of it", value=read, unit="s", at_most=0.5),
            Figure(name="draw all charts after moving on", value=moved, unit="s", at_most=0.1),
            Figure(name="all of it", value=whole["seconds"], unit="s"),
            Figure(name="all of it, memory", value=whole["MB"], unit="MB", at_most=20),
            Figure(name=f"{RUNS} runs that are over, of a core", value=share, unit="%", at_most=4),
        ],
        chosen,
    )


if __name__ == "__main__":
    sys.exit(main())
