"""A study whose processes are killed at random: `python -m benchmarks.kills`.

Twenty tiny trials, two at once, with successive halving. Every few seconds the controller, a worker or a supervisor is
killed with SIGKILL, and each time the controller is, half of the time the study's journal is cut off at a random byte,
as by a power failure; then it is started again. In the end every trial has to be there once, with its result at the
first rung, one at least has to be done, and nothing may have been started more often than it was needed and killed.

--quick: six trials.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import sys
import time

from benchmarks.harness import Figure, home, options, report
from core.recipe.file import load
from core.runs.directory import Run
from core.runs.launches import Launched
from core.runs.lookup import all_runs
from core.storage.workspace import Workspace
from core.tune.start import start
from core.tune.study import Study
from core.tune.study_file import Scheduler, StudyFile

SETTINGS = (
    *("model.n_layer=1", "model.n_embd=32", "model.n_head=2", "model.block_size=32", "train.batch_size=4"),
    *(
        "train.steps=45",
        "train.evaluate_tokens=512",
        "train.device=cpu",
        "train.minutes=60",
        "train.checkpoint_every=5",
    ),
    *("train.device=cpu", "source.corpus=stdlib", "name=kills"),
)
SPACE = {"train.lr": {"low": 1e-4, "high": 1e-1, "log": True}}


def new_study(trials: int) -> Study:
    file = StudyFile(space=SPACE, trials=trials, parallel=2, scheduler=Scheduler(kind="asha"))
    return Study.create(Workspace().prepare(), load(preset="shakespeare", overrides=SETTINGS), file)


def kill(pid: int | None) -> bool:
    """Kill a process; returns whether it was there."""
    if pid is None or pid <= 0:
        return False
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
        return True
    return False


def disturb(study: Study, rng: random.Random) -> dict[str, int]:
    """Run the study to its end, killing what it consists of; how often each was killed."""
    kills = {"controller": 0, "worker": 0, "supervisor": 0, "journal": 0}
    workspace = Workspace()
    start(study, workspace)
    while True:
        time.sleep(rng.uniform(1, 6))
        if study.controller() is None:
            if study.is_done():
                return kills
            start(study, workspace)
            continue
        kind = rng.choice(("controller", "worker", "supervisor"))
        if kind == "controller":
            kills[kind] += kill(study.controller())
            while study.controller() is not None:
                time.sleep(0.01)
            if rng.random() < 0.5 and not study.is_done():
                raw = study.journal.read_bytes()
                study.journal.write_bytes(raw[: rng.randrange(len(raw))])
                kills["journal"] += 1
            continue
        active = [run for run in all_runs(workspace) if run.state().is_active]
        if active:
            run = rng.choice(active)
            kills[kind] += kill(run.writer() if kind == "worker" else run.supervisor())


def launches(run: Run) -> int:
    return sum(isinstance(record, Launched) for record in run.launches())


def main() -> int:
    chosen = options(__doc__)
    count = 6 if chosen.quick else 20
    with home():
        study = new_study(count)
        kills = disturb(study, random.Random(1))
        trials, runs = study.trials(), all_runs(Workspace())
        started = sum(map(launches, runs))
    print(f"killed: {kills}", file=sys.stderr)
    needed = sum(len(trial.rungs) + (trial.bits_per_byte is not None) for trial in trials)
    most = needed + kills["worker"] + kills["supervisor"]
    return report(
        [
            Figure(name="trials", value=len(trials), unit="", at_least=count, at_most=count),
            Figure(name="runs", value=len(runs), unit="", at_least=count, at_most=count),
            Figure(name="values tried", value=len({str(trial.values) for trial in trials}), unit="", at_least=count),
            Figure(name="with a result", value=sum(bool(trial.rungs) for trial in trials), unit="", at_least=count),
            Figure(
                name="done", value=sum(trial.bits_per_byte is not None for trial in trials), unit="trials", at_least=1
            ),
            Figure(name="launches", value=started, unit="", at_least=needed, at_most=most),
        ],
        chosen,
    )


if __name__ == "__main__":
    sys.exit(main())
