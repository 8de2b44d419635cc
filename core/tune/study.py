"""The directory of a study, and the trials in its journal.

    <data>/studies/YYYYMMDD-HHMMSS-NAME-XXXX/
      recipe.toml        the recipe of the trials, but for the fields that vary
      study.toml         settings and search space; may be edited while the study runs
      journal.jsonl      what the controller decided: trials, rungs, promotions, results; append-only
      problem.txt        what keeps the controller from continuing, or from following an edit; absent if nothing does
      controller.lock    held by the controller while it lives
      reserve            64 KiB, deleted on a full disk so that problem.txt can still be written
      control/           requests, see `core.tune.requests`
      log.txt            output of the controller

Trials are ordinary runs; their run.json names the study. What a trial is doing is computed from its run.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any, Literal

import msgspec
from msgspec import Struct

from core.errors import DiskError, LlmtuiError, log
from core.events import RungReached
from core.parsing import ParseError, parse
from core.recipe.file import load, to_toml
from core.recipe.schema import Recipe
from core.run_names import new_id
from core.runs.directory import Run, RunState
from core.runs.failure import failure
from core.runs.run_file import TrialOrigin
from core.storage.files import creating_directory, write_atomic
from core.storage.journal import JournalReader
from core.storage.locks import holder
from core.storage.workspace import Workspace, check_name
from core.tune import study_file
from core.tune.constraints import require_possible
from core.tune.space import Space, SpaceError, Values
from core.tune.study_file import StudyFile

Outcome = Literal["done", "failed", "stopped", "lost"]


RESERVE = 2**16
"""Bytes reserved so that a full disk can be told."""


class InvalidStudyError(LlmtuiError):
    doing = "read the study"


# -- the journal ----------------------------------------------------------------------------------------------------


class TrialCreated(Struct, frozen=True, kw_only=True, tag=True):
    """A run was created for a combination of values."""

    number: int
    run_id: str
    values: Values
    seed: int
    """train.seed of the run."""
    origin: TrialOrigin = "sampled"
    request: str = ""
    """Id of the request of an inserted trial."""
    stop_at: float = 1.0
    """Share of its training after which it waits; 1: at its end."""
    at: float = msgspec.field(default_factory=time.time)


class TrialPaused(Struct, frozen=True, kw_only=True, tag=True):
    """A trial has reached a rung: it waits there with a checkpoint, and may be promoted."""

    number: int
    share: float
    """Of its training, 0 to 1."""
    bits_per_byte: float
    """On the held-out text of an evaluation. The result of a trial that is done is on more text."""
    seconds: float = 0.0
    """Of training."""
    at: float = msgspec.field(default_factory=time.time)


class TrialPromoted(Struct, frozen=True, kw_only=True, tag=True):
    """A trial that waited at a rung trains further, from its checkpoint."""

    number: int
    stop_at: float
    """Share of its training after which it waits again; 1: it trains to its end."""
    at: float = msgspec.field(default_factory=time.time)


class TrialEnded(Struct, frozen=True, kw_only=True, tag=True):
    """A trial has its result, or will never have one."""

    number: int
    outcome: Outcome
    bits_per_byte: float | None = None
    """On the held-out text."""
    seconds: float = 0.0
    """Of training."""
    tokens_per_second: float | None = None
    parameters: int | None = None
    flops: float | None = None
    """Of training, forward and backward."""
    tokens: int | None = None
    """Trained on."""
    reason: str = ""
    at: float = msgspec.field(default_factory=time.time)


class SettingsChanged(Struct, frozen=True, kw_only=True, tag=True):
    """The text of study.toml that trials from now on follow."""

    text: str
    at: float = msgspec.field(default_factory=time.time)


class StudyEnded(Struct, frozen=True, kw_only=True, tag=True):
    """All trials have ended."""

    at: float = msgspec.field(default_factory=time.time)


StudyEvent = TrialCreated | TrialPaused | TrialPromoted | TrialEnded | SettingsChanged | StudyEnded
_decoder: msgspec.json.Decoder[StudyEvent] = msgspec.json.Decoder(StudyEvent)


class Trial(Struct, kw_only=True):
    """One run of a study."""

    number: int
    """From 1."""
    run_id: str
    values: Values
    seed: int
    origin: TrialOrigin
    stop_at: float = 1.0
    """Share of its training to which it trains, or at which it waits; 1: to its end."""
    rungs: list[TrialPaused] = []
    """Its results at the rungs it has reached, the first one first."""
    created_at: float = 0.0
    """In seconds since the epoch."""
    request: str = ""
    """Id of the request of an inserted trial."""
    ended: TrialEnded | None = None

    @property
    def paused(self) -> TrialPaused | None:
        """The rung at which it waits; None while it trains, or once it has ended."""
        waits = self.ended is None and self.rungs and self.rungs[-1].share >= self.stop_at
        return self.rungs[-1] if waits else None

    @property
    def failed(self) -> bool:
        """Whether it ended without a result for a reason of its own, such as a loss that is not finite."""
        return self.ended is not None and self.ended.outcome == "failed"

    @property
    def bits_per_byte(self) -> float | None:
        """Of a trial that is done."""
        return self.ended.bits_per_byte if self.ended and self.ended.outcome == "done" else None


def absorb(trials: dict[int, Trial], event: StudyEvent) -> None:
    """Add one event to the trials, by number."""
    match event:
        case TrialCreated():
            trials[event.number] = Trial(
                number=event.number,
                run_id=event.run_id,
                values=event.values,
                seed=event.seed,
                origin=event.origin,
                stop_at=event.stop_at,
                created_at=event.at,
                request=event.request,
            )
        case TrialPaused() if trial := trials.get(event.number):
            trial.rungs = sorted(
                (*(rung for rung in trial.rungs if rung.share != event.share), event), key=lambda rung: rung.share
            )
        case TrialPromoted() if event.number in trials:
            trials[event.number].stop_at = event.stop_at
        case TrialEnded() if event.number in trials:
            trials[event.number].ended = event


class Study:
    """A study on disk. The object holds settings and recipe as they were when it was opened."""

    def __init__(self, path: Path, recipe: Recipe, file: StudyFile, space: Space, text: str) -> None:
        """text: that of study.toml with these settings."""
        self.path, self.recipe, self.file, self.space, self.text = path, recipe, file, space, text

    @classmethod
    def create(cls, workspace: Workspace, recipe: Recipe, file: StudyFile) -> Study:
        """Create the directory of a study without starting it. Raises SpaceError, InvalidNameError, DiskError."""
        check_name(recipe.name)
        file, space = study_file.convert(_tables(file), recipe, "study.toml")
        require_possible(file, space, recipe, "study.toml")
        text = study_file.to_toml(file)
        path = studies_directory(workspace) / new_id(recipe.name, time.time())
        try:
            path.parent.mkdir(mode=0o700, exist_ok=True)
            with creating_directory(path) as staged:
                (staged / "control").mkdir(mode=0o700)
                (staged / "controller.lock").touch(0o600)
                write_atomic(staged / "recipe.toml", to_toml(recipe).encode())
                write_atomic(staged / "study.toml", text.encode())
        except OSError as error:
            raise DiskError.from_oserror(error, path) from None
        return cls(path, recipe, file, space, text)

    @classmethod
    def open(cls, path: Path) -> Study:
        """The study in `path`; with the settings that were in force last if study.toml was edited into nonsense.

        Raises InvalidStudyError, and SpaceError if no settings were in force before.
        """
        try:
            text = (path / "study.toml").read_text("utf-8")
            recipe = load(file=path / "recipe.toml")
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise InvalidStudyError(f"{path.name}: {reason.lower()}", where=str(path)) from None
        try:
            file, space = study_file.parse_study(text, recipe, str(path / "study.toml"))
        except SpaceError:
            texts = [event.text for event in _events(path / "journal.jsonl") if isinstance(event, SettingsChanged)]
            if not texts:
                raise
            text = texts[-1]
            file, space = study_file.parse_study(text, recipe, str(path / "journal.jsonl"))
        return cls(path, recipe, file, space, text)

    # -- contents -------------------------------------------------------------------------------------------------

    @property
    def id(self) -> str:
        return self.path.name

    @property
    def name(self) -> str:
        return self.recipe.name

    @property
    def journal(self) -> Path:
        return self.path / "journal.jsonl"

    @property
    def control(self) -> Path:
        return self.path / "control"

    @property
    def log(self) -> Path:
        return self.path / "log.txt"

    def controller(self) -> int | None:
        """Pid of the running controller; None: not running."""
        return holder(self.path / "controller.lock")

    @property
    def pause_requested(self) -> bool:
        return (self.control / "pause").exists()

    @property
    def stop_requested(self) -> bool:
        """Whether the user has stopped it, until it is started again."""
        return (self.control / "stop").exists()

    def events(self) -> Iterator[StudyEvent]:
        """The events of the journal; unreadable lines, such as one cut by a power failure, are skipped."""
        return _events(self.journal)

    @property
    def problem(self) -> str:
        """What keeps the controller from continuing, or from following an edit, in words; empty if nothing does."""
        with contextlib.suppress(OSError):
            return (self.path / "problem.txt").read_text("utf-8", errors="replace")
        return ""

    def tell_problem(self, text: str) -> None:
        """Set `problem`, also on a full disk, and log it. For the controller."""
        path = self.path / "problem.txt"
        if text:
            log(text)
            (self.path / "reserve").unlink(missing_ok=True)
            with contextlib.suppress(OSError):
                write_atomic(path, text.encode(), durable=False)
        else:
            path.unlink(missing_ok=True)
            with contextlib.suppress(OSError):
                write_atomic(self.path / "reserve", bytes(RESERVE), durable=False)

    def trials(self) -> list[Trial]:
        """All trials, by number."""
        trials: dict[int, Trial] = {}
        for event in self.events():
            absorb(trials, event)
        return [trials[number] for number in sorted(trials)]

    def is_done(self) -> bool:
        """Whether the last thing that the controller wrote is that all trials have ended."""
        last: StudyEvent | None = None
        for event in self.events():
            last = event
        return isinstance(last, StudyEnded)


def _events(journal: Path) -> Iterator[StudyEvent]:
    for line in JournalReader(journal).iter_lines():
        try:
            yield parse(_decoder.decode, line)
        except ParseError:
            continue


def by_values(trials: Sequence[Trial]) -> list[list[Trial]]:
    """The trials that are done, those with the same values together, the lowest mean over seeds first."""
    groups: dict[bytes, list[Trial]] = {}
    for trial in trials:
        if trial.bits_per_byte is not None:
            key = msgspec.json.encode(sorted(trial.values.items(), key=lambda pair: pair[0]))
            groups.setdefault(key, []).append(trial)
    return sorted(groups.values(), key=lambda group: fmean(trial.bits_per_byte or 0.0 for trial in group))


def best_trial(trials: Sequence[Trial]) -> Trial | None:
    """The best trial of the values with the lowest mean over seeds, in bits per byte; None before one is done."""
    groups = by_values(trials)
    return min(groups[0], key=lambda trial: trial.bits_per_byte or 0.0) if groups else None


def paused_at(rung: RungReached, number: int) -> TrialPaused:
    """The pause of a trial at a rung that its run has reached."""
    return TrialPaused(number=number, share=rung.share, bits_per_byte=rung.bits_per_byte, seconds=rung.seconds)


def result_of(run: Run, state: RunState, number: int) -> TrialEnded | None:
    """The result of a trial whose run is in `state`; None while it has none."""
    summary = run.summary()
    metric, evaluation, shape = summary.metric, summary.headline_evaluation, summary.shape
    facts: dict[str, Any] = {
        "seconds": metric.seconds if metric else 0.0,
        "tokens_per_second": metric.tokens / metric.seconds if metric and metric.seconds else None,
        "parameters": shape.parameters if shape else None,
        "flops": float(shape.flops_per_token * metric.tokens) if shape and metric else None,
        "tokens": metric.tokens if metric else None,
    }
    if state is RunState.DONE and evaluation is not None:
        return TrialEnded(number=number, outcome="done", bits_per_byte=evaluation.bits_per_byte, **facts)
    if state is RunState.DONE:
        return TrialEnded(number=number, outcome="failed", reason="it ended without an evaluation", **facts)
    if state is RunState.FAILED:
        why = failure(run, state)
        return TrialEnded(number=number, outcome="failed", reason=why.what if why else "", **facts)
    if state is RunState.STOPPED:
        return TrialEnded(number=number, outcome="stopped", reason="it was stopped", **facts)
    return None


def studies_directory(workspace: Workspace) -> Path:
    """Where the studies of a workspace are."""
    return workspace.data / "studies"


def _tables(file: StudyFile) -> dict[str, Any]:
    return {key: value for key, value in msgspec.to_builtins(file).items() if value is not None}
