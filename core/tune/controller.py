"""The process that runs a study: `python -P -m core.tune.controller STUDY_DIR`.

It starts trials, which are detached runs, and records their results. If it is killed, nothing is lost: trials continue
under their supervisors, and the next controller reads from the journal and the runs what there is to do.
"""

from __future__ import annotations

import contextlib
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType

import msgspec
from msgspec.structs import replace

from core.errors import BusyError, DiskError, LlmtuiError, log
from core.hardware import cores, gpu_count
from core.parsing import ParseError, read_json
from core.recipe.checks import RecipeError
from core.recipe.schema import Recipe
from core.runs import launch
from core.runs.control import request_pause, request_stop
from core.runs.directory import Run, RunState, StudyTrial, TrialOrigin
from core.runs.errors import InvalidRunError, RunActiveError
from core.runs.lookup import all_runs
from core.storage.files import sweep
from core.storage.journal import JournalWriter
from core.storage.locks import Lock
from core.storage.workspace import Workspace
from core.tune.samplers import propose
from core.tune.space import SpaceError, Values, with_values
from core.tune.study import (
    SettingsChanged,
    Study,
    StudyEnded,
    StudyEvent,
    Trial,
    TrialCreated,
    TrialEnded,
    absorb,
    result_of,
)
from core.tune.study_file import parse_study

POLL_SECONDS = 1.0
"""How often the controller looks at its trials."""

RESTARTS = 3
"""How often a trial that was interrupted is started again."""


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """A trial inserted by hand, control/add-*.json."""

    values: Values
    origin: TrialOrigin = "inserted"


class Controller:
    """One study, whose `controller.lock` is held. `tick` does what there is to do now."""

    def __init__(
        self, study: Study, workspace: Workspace, start: Callable[[Run, Workspace, bool], None] | None = None
    ) -> None:
        """start: starts a run, sharing its device or not; by default detached processes."""
        self.study, self._workspace = study, workspace
        self._start_run = start or (lambda run, where, share: launch.start(run, where, share=share))
        self._journal = JournalWriter(study.journal)
        self._text = self._settings_text()
        self._rejected = ""
        """A text of study.toml that cannot be used."""
        self._restarts: dict[str, int] = {}
        """By run id."""
        self._trials = {trial.number: trial for trial in study.trials()}
        """By number; nobody else writes the journal."""
        self.message = ""
        """What stands in the way; empty if nothing does."""
        self._adopt_unrecorded()
        self._open_at_start = {trial.run_id for trial in self._trials.values() if trial.ended is None}
        """Runs that continue if they were stopped with the study."""

    # -- one tick -------------------------------------------------------------------------------------------------

    def tick(self) -> bool:
        """Record results, start trials; returns whether the study has ended. Raises DiskError."""
        self._follow_edits()
        active: list[Run] = []
        for trial in list(self._trials.values()):
            if trial.ended is None:
                run = self._advance(trial)
                active += [run] if run else []
        if (self.study.control / "stop").exists():
            for run in active:
                request_stop(run)
            return not active
        if self.study.pause_requested:
            for run in active:
                if not run.pause_requested:
                    request_pause(run)
            return False
        while len(active) < self.study.file.parallel:
            created = self._next(list(self._trials.values()))
            if created is None:
                break
            active.append(created)
        if active:
            return False
        if not self.message:
            self._record(StudyEnded())
        return True

    def _advance(self, trial: Trial) -> Run | None:
        """Record the result of a trial, or start it again; returns its run if it is active then."""
        try:
            run = Run.open(self._workspace.runs / trial.run_id)
            state = run.state()
        except (InvalidRunError, OSError) as error:
            what = getattr(error, "what", "") or str(error)
            self._record(TrialEnded(number=trial.number, outcome="lost", reason=f"its run cannot be read: {what}"))
            return None
        if state.is_active:
            return run
        if state is RunState.STOPPED and (self.study.control / "stop").exists():
            return None  # it continues when the study does
        was_stopped = state is RunState.STOPPED and run.id in self._open_at_start
        self._open_at_start.discard(run.id)
        result = None if was_stopped else result_of(run, state, trial.number)
        if result is not None:
            self._record(result)
            return None
        restarts = self._restarts.get(run.id, 0)
        if restarts >= RESTARTS:
            self._record(
                TrialEnded(number=trial.number, outcome="failed", reason=f"it was interrupted {restarts} times")
            )
            return None
        self._restarts[run.id] = restarts + 1
        return self._started(run)

    def _next(self, trials: list[Trial]) -> Run | None:
        """Create and start the next trial; None if there is none now."""
        if request := self._take_request():
            path, inserted = request
            try:
                recipe = with_values(self.study.recipe, inserted.values)
            except RecipeError as error:
                log(f"{path.name} is not a trial: {error.sentence()}")
                path.unlink(missing_ok=True)
                return self._next(trials)
            run = self._create(trials, inserted.values, recipe, inserted.origin)
            path.unlink(missing_ok=True)
            return run
        if not self._has_budget(trials):
            return None
        try:
            proposal = propose(self.study.file, self.study.space, self.study.recipe, trials)
        except LlmtuiError as error:
            self.message = error.sentence()
            log(self.message)
            return None
        self.message = ""
        return self._create(trials, proposal.values, proposal.recipe, "sampled") if proposal else None

    def _has_budget(self, trials: list[Trial]) -> bool:
        """Whether one more sampled trial is within the limits of the study."""
        file = self.study.file
        sampled = [trial for trial in trials if trial.origin == "sampled"]
        if file.trials is not None and len(sampled) >= file.trials:
            return False
        if file.minutes is None:
            return True
        of_one = 60 * (self.study.recipe.train.minutes or 0.0)
        spent = sum(trial.ended.seconds if trial.ended else of_one for trial in trials)
        # a hundredth: a training stops at the step after its limit
        return spent + of_one <= 60 * file.minutes * 1.01 and spent < 60 * file.minutes

    # -- trials ---------------------------------------------------------------------------------------------------

    def _create(self, trials: list[Trial], values: Values, recipe: Recipe, origin: TrialOrigin) -> Run:
        number = max((trial.number for trial in trials), default=0) + 1
        train = recipe.train
        if self._shares_processor(recipe) and train.threads is None:
            train = replace(train, threads=max(1, cores() // self.study.file.parallel))
        recipe = replace(recipe, name=f"{self.study.name[:56]}-{number:03d}", train=train)
        trial = StudyTrial(id=self.study.id, number=number, values=values, origin=origin)
        run = Run.create(self._workspace, recipe, study=trial)
        self._record_created(run, trial)
        return self._started(run)

    def _record_created(self, run: Run, trial: StudyTrial) -> None:
        self._record(
            TrialCreated(
                number=trial.number,
                run_id=run.id,
                values=trial.values,
                seed=run.recipe.train.seed,
                origin=trial.origin,
            )
        )

    def _adopt_unrecorded(self) -> None:
        """Record trials that were created when a controller was killed before it could write so."""
        known = {trial.run_id for trial in self._trials.values()}
        for run in reversed(all_runs(self._workspace)):
            trial = run.file.study
            if trial and trial.id == self.study.id and run.id not in known:
                self._record_created(run, trial)

    def _shares_processor(self, recipe: Recipe) -> bool:
        """Whether trials run at once on the processor; on GPUs the queue gives each its own."""
        on_processor = recipe.train.device == "cpu" or (recipe.train.device == "auto" and not gpu_count())
        return self.study.file.parallel > 1 and on_processor

    def _started(self, run: Run) -> Run:
        try:
            self._start_run(run, self._workspace, self._shares_processor(run.recipe))
        except RunActiveError:
            pass
        except launch.LaunchError as error:  # it is tried again, see RESTARTS
            log(error.sentence())
        return run

    def _take_request(self) -> tuple[Path, Request] | None:
        for path in sorted(self.study.control.glob("add-*.json")):
            try:
                return path, read_json(path, Request)
            except (OSError, ParseError) as error:
                log(f"{path.name} cannot be read: {error}")
                path.unlink(missing_ok=True)
        return None

    # -- settings and journal -------------------------------------------------------------------------------------

    def _settings_text(self) -> str:
        with contextlib.suppress(OSError, UnicodeDecodeError):
            return (self.study.path / "study.toml").read_text("utf-8")
        return ""

    def _follow_edits(self) -> None:
        """Use an edited study.toml. One that cannot be used is reported once; the settings before stay in force."""
        text = self._settings_text()
        if text in (self._text, self._rejected):
            return
        try:
            file, space = parse_study(text, self.study.recipe, str(self.study.path / "study.toml"))
        except SpaceError as error:
            self._rejected = text
            log(error.sentence())
            return
        self.study.file, self.study.space, self._text, self._rejected = file, space, text, ""
        self._record(SettingsChanged(text=text))

    def _record(self, event: StudyEvent) -> None:
        if not self._journal.append(msgspec.json.encode(event)):
            raise DiskError("the disk is full", where=str(self.study.journal), kept="its trials continue")
        self._journal.sync()
        absorb(self._trials, event)


def run_controller(study: Study, workspace: Workspace) -> int:
    """Run the study to its end, or until a stop is requested; returns the exit code."""
    lock = Lock.acquire(study.path / "controller.lock")
    if lock is None:
        return BusyError.exit_code
    with lock:
        sweep(study.path)
        (study.control / "stop").unlink(missing_ok=True)
        controller = Controller(study, workspace)
        while True:
            try:
                if controller.tick():
                    return 1 if controller.message else 0
            except DiskError as error:  # nothing is lost: it tries again until there is space
                log(error.sentence())
            if not lock.stands():
                return 1
            time.sleep(POLL_SECONDS)


def main() -> int:
    study = Study.open(Path(sys.argv[1]))

    def stop(signum: int, frame: FrameType | None) -> None:
        sys.exit(0)  # trials continue; the next controller continues the study

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    return run_controller(study, Workspace().prepare())


if __name__ == "__main__":
    sys.exit(main())
