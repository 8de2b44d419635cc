"""The controller of a study: it starts trials, which are detached runs, promotes them, and records their results.

If its process (`core.tune.run_study`) is killed, nothing is lost: trials continue under their supervisors, and the next
controller reads from the journal and the runs what there is to do.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable

import msgspec
from msgspec.structs import replace

from core.errors import DiskError, LlmtuiError, log
from core.recipe.checks import RecipeError
from core.recipe.schema import Recipe
from core.runs.control import request_pause, request_stop
from core.runs.directory import Run, RunState
from core.runs.errors import InvalidRunError
from core.runs.failure import failed_on_disk
from core.runs.lookup import all_runs
from core.runs.run_file import TrialOrigin
from core.storage.journal import JournalWriter
from core.storage.workspace import Workspace
from core.tune.budget import is_affordable
from core.tune.constraints import trial_recipe
from core.tune.halving import finalist, next_stop, promotable
from core.tune.requests import StudyRequests
from core.tune.samplers import propose
from core.tune.space import SpaceError, Values
from core.tune.study import Study
from core.tune.study_file import parse_study
from core.tune.trial_runs import Starter, TrialRuns
from core.tune.trials import (
    SettingsChanged,
    StudyEnded,
    StudyEvent,
    Trial,
    TrialCreated,
    TrialEnded,
    TrialPromoted,
    absorb,
    paused_at,
    result_of,
)

WAITING_TICKS = 10
"""Ticks between two checks of the trials that wait at rungs: the user may have resumed or deleted one of hundreds."""

RESTARTS = 3
"""How often a trial that was interrupted is started again."""

DISK_RETRY_SECONDS = 30.0
"""When a trial that failed for want of disk space is tried again."""


class Controller:
    """One study, whose `controller.lock` is held. `tick` does what there is to do now."""

    def __init__(
        self,
        study: Study,
        workspace: Workspace,
        start: Starter | None = None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        """start: as `TrialRuns` takes it. now: a clock in seconds."""
        self.study, self._workspace = study, workspace
        self._runs = TrialRuns(study, workspace, start)
        self._journal, self._requests = JournalWriter(study.journal), StudyRequests(study.control)
        self._now, self._begun, self._check_in = now, False, 0
        self._text = study.text
        self._rejected, self._rejection = "", ""
        """A text of study.toml that cannot be used, and why."""
        self._disk_retries: dict[str, float] = {}
        """By run id: when a trial that failed for want of disk space is tried again."""
        self._disk_problem = ""
        self._restarts: dict[str, int] = {}
        """By run id."""
        self._trials = {trial.number: trial for trial in study.trials()}
        """By number; no other process writes the journal."""
        self.message = ""
        """Why no trial can be started; empty if one can."""
        self._seen: dict[str, tuple[int, int]] = {}
        """By id of a run that waits at a rung: which file run.json was at the last check."""
        self._open_at_start: set[str] = set()
        """Runs that continue if they were stopped with the study."""

    @property
    def problem(self) -> str:
        """What the user has to know; empty if nothing is wrong."""
        return self.message or self._rejection

    # -- one tick -------------------------------------------------------------------------------------------------

    def tick(self) -> bool:
        """Record results, promote and start trials; returns whether the study has ended. Raises DiskError."""
        if not self._begun:
            self._begin()
        self._follow_edits()
        self._drop_waiting()
        self._disk_problem, checks_waiting = "", self._check_in <= 0
        self._check_in = WAITING_TICKS if checks_waiting else self._check_in - 1
        active: list[Run] = []
        for trial in list(self._trials.values()):
            if trial.ended is None and (trial.paused is None or (checks_waiting and self._has_changed(trial))):
                run = self._advance(trial)
                active += [run] if run else []
        if self._requests.stop:
            for run in active:
                request_stop(run)
            return not active
        if self._requests.pause:
            for run in active:
                if not run.pause_requested:
                    request_pause(run)
            return False
        if self._disk_problem:
            raise DiskError(self._disk_problem, where=str(self._workspace.data), kept="the study waits for space")
        while len(active) < self.study.file.parallel:
            started = self._next(alone=not active)
            if started is None:
                break
            active.append(started)
        if active:
            return False
        if not checks_waiting:  # it ends after a check of all
            self._check_in = 0
            return False
        if not self.message:
            self._record(StudyEnded())
        return True

    def _has_changed(self, trial: Trial) -> bool:
        """Whether the run of a trial that waits at a rung was resumed or deleted since the last check."""
        try:
            status = (self._workspace.runs / trial.run_id / "run.json").stat()
        except OSError:
            return True
        seen = self._seen.get(trial.run_id)
        self._seen[trial.run_id] = status.st_ino, status.st_mtime_ns
        return seen != self._seen[trial.run_id]

    def _advance(self, trial: Trial) -> Run | None:
        """Record what has become of a trial, or start it again; returns its run if it is active then."""
        try:
            run = Run.open(self._workspace.runs / trial.run_id)
            state = run.state()
        except (InvalidRunError, OSError) as error:
            what = getattr(error, "what", "") or str(error)
            seconds = trial.rungs[-1].seconds if trial.rungs else 0.0
            is_there = (self._workspace.runs / trial.run_id).exists()
            reason = f"its run cannot be read: {what}" if is_there else "its run is gone: deleted, or not copied here"
            self._record(TrialEnded(number=trial.number, outcome="lost", reason=reason, seconds=seconds))
            return None
        if run.file.stop_at > trial.stop_at:  # resumed by hand; or a power failure has cut the journal
            self._record(TrialPromoted(number=trial.number, stop_at=run.file.stop_at))
        if state.is_active:
            return run
        summary, known = run.summary(), [rung.share for rung in trial.rungs]
        for rung in summary.rungs:
            if rung.share not in known:
                self._record(paused_at(rung, trial.number))
        if trial.paused:
            return None
        waited = state is RunState.STOPPED and (run.id in self._open_at_start or summary.waiting_rung is not None)
        if state in (RunState.STOPPED, RunState.INTERRUPTED) and self._requests.stop:
            return None  # it continues when the study does
        if (waited or state is RunState.INTERRUPTED) and self._requests.pause:
            return None
        self._open_at_start.discard(run.id)
        result = None if waited else result_of(run, state, trial.number)
        if result is None:
            return self._start_again(trial, run)
        if result.outcome == "failed" and failed_on_disk(run):
            return self._try_disk_again(trial, run, result.reason)
        self._record(result)
        return None

    def _start_again(self, trial: Trial, run: Run) -> Run | None:
        """Start a trial that was promoted, or interrupted, from its checkpoint."""
        restarts = self._restarts.get(run.id, 0)
        if restarts >= RESTARTS:
            reason = f"it was interrupted {restarts} times"
            self._record(TrialEnded(number=trial.number, outcome="failed", reason=reason))
            return None
        self._restarts[run.id] = restarts + 1
        return self._started(run, trial.stop_at)

    def _try_disk_again(self, trial: Trial, run: Run, reason: str) -> Run | None:
        """Start a trial again that failed for want of disk space, after a while: it is no result."""
        if self._now() < self._disk_retries.setdefault(run.id, self._now() + DISK_RETRY_SECONDS):
            self._disk_problem = reason
            return None
        started = self._started(run, trial.stop_at)
        del self._disk_retries[run.id]
        return started

    def _next(self, *, alone: bool) -> Run | None:
        """Promote or create the next trial, and start it; None if there is none now. alone: no other one trains."""
        file, recipe, trials = self.study.file, self.study.recipe, list(self._trials.values())
        if wanted := self._requested():
            return wanted
        best = promotable(file.scheduler, trials)
        if best and best.paused:
            stop = self._next_stop(best)
            if is_affordable(file, recipe, trials, best.paused.share, stop):
                return self._promote(best, stop) or self._next(alone=alone)
        sampled = sum(trial.origin == "sampled" for trial in trials)
        first = next_stop(file.scheduler)
        if sampled < (file.trials or math.inf) and is_affordable(file, recipe, trials, 0.0, first):
            try:
                proposal = propose(file, self.study.space, recipe, trials)
            except LlmtuiError as error:
                self.message = error.sentence()
                return None
            self.message = ""
            if proposal:
                return self._create(proposal.values, proposal.recipe, "sampled")
        last = finalist(trials) if alone else None
        return (self._promote(last, 1.0) or self._next(alone=alone)) if last else None

    def _requested(self) -> Run | None:
        """Start what the user has promoted or inserted, one trial at a time."""
        for path, trial in self._requests.about("promote", self._trials):
            run = self._promote(trial, self._next_stop(trial)) if trial.paused else None
            path.unlink(missing_ok=True)
            if run:
                return run
        for path, inserted in self._requests.insertions():
            if inserted.id and any(trial.request == inserted.id for trial in self._trials.values()):
                path.unlink(missing_ok=True)  # the controller before was killed just then
                continue
            try:
                recipe = trial_recipe(self.study.file, self.study.recipe, inserted.values)
                if inserted.seed is not None:
                    recipe = replace(recipe, train=replace(recipe.train, seed=inserted.seed))
                run = self._create(inserted.values, recipe, inserted.origin, inserted.id)
            except RecipeError as error:
                log(f"{path.name} is not a trial: {error.sentence()}")
                run = None
            path.unlink(missing_ok=True)
            if run:
                return run
        return None

    def _next_stop(self, trial: Trial) -> float:
        return next_stop(self.study.file.scheduler, trial.stop_at)

    def _promote(self, trial: Trial, stop: float) -> Run | None:
        """Let a trial that waits at a rung train further; None if it cannot, which is its end."""
        self._record(TrialPromoted(number=trial.number, stop_at=stop))
        self._restarts.pop(trial.run_id, None)
        return self._advance(trial)

    # -- trials ---------------------------------------------------------------------------------------------------

    def _create(self, values: Values, recipe: Recipe, origin: TrialOrigin, request: str = "") -> Run:
        run = self._runs.create(max(self._trials, default=0) + 1, values, recipe, origin, request)
        self._record_created(run)
        return self._started(run, run.file.stop_at)

    def _record_created(self, run: Run) -> None:
        trial = run.file.study
        assert trial is not None
        self._record(
            TrialCreated(
                number=trial.number,
                run_id=run.id,
                values=trial.values,
                seed=run.recipe.train.seed,
                origin=trial.origin,
                request=trial.request,
                stop_at=run.file.stop_at,
            )
        )

    def _begin(self) -> None:
        """Record the settings in force, and what an earlier controller was killed before it could write."""
        settings = [event.text for event in self.study.events() if isinstance(event, SettingsChanged)]
        if settings[-1:] != [self._text]:
            self._record(SettingsChanged(text=self._text))
        self._adopt_unrecorded()
        self._open_at_start = {trial.run_id for trial in self._trials.values() if trial.ended is None}
        self._begun = True

    def _adopt_unrecorded(self) -> None:
        """Record trials that were created when a controller was killed before it could write so."""
        known = {trial.run_id for trial in self._trials.values()}
        for run in reversed(all_runs(self._workspace)):
            trial = run.file.study
            if trial and trial.id == self.study.id and run.id not in known:
                self._record_created(run)

    def _started(self, run: Run, stop: float) -> Run:
        """Start a run that is to train until the share `stop` of its training; if it cannot be, it is started again,
        see RESTARTS."""
        self._runs.start(run, stop)
        return run

    def _drop_waiting(self) -> None:
        """End the trials at rungs that the user has dropped."""
        for path, trial in self._requests.about("drop", self._trials):
            if rung := trial.paused:
                reason = "it was dropped"
                self._record(TrialEnded(number=trial.number, outcome="stopped", reason=reason, seconds=rung.seconds))
            path.unlink(missing_ok=True)

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
            error.kept = "the study continues with its settings before the edit"
            self._rejected, self._rejection = text, error.sentence()
            return
        self.study.file, self.study.space, self._text, self._rejected, self._rejection = file, space, text, "", ""
        self._record(SettingsChanged(text=text))

    def _record(self, event: StudyEvent) -> None:
        if not self._journal.append(msgspec.json.encode(event)):
            raise DiskError("the disk is full", where=str(self.study.journal), kept="its trials continue")
        self._journal.sync()
        absorb(self._trials, event)
