"""The directory of a study.

    <data>/studies/YYYYMMDD-HHMMSS-NAME-XXXX/
      recipe.toml        the recipe of the trials, but for the fields that vary
      study.toml         settings and search space; may be edited while the study runs
      rejected.toml      the text of an edit of study.toml that could not be used; absent before one
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
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from core.errors import DiskError, LlmtuiError, log
from core.parsing import ParseError, parse
from core.recipe.file import load, to_toml
from core.recipe.schema import Recipe
from core.run_names import new_id
from core.storage.files import creating_directory, write_atomic
from core.storage.journal import JournalReader
from core.storage.locks import holder
from core.storage.workspace import Workspace, check_name
from core.tune import study_file
from core.tune.constraints import require_possible
from core.tune.space import Space, SpaceError
from core.tune.study_file import StudyFile
from core.tune.trials import SettingsChanged, StudyEnded, StudyEvent, Trial, absorb

RESERVE = 2**16
"""Bytes reserved so that `problem` can be written on a full disk."""

_decoder: msgspec.json.Decoder[StudyEvent] = msgspec.json.Decoder(StudyEvent)


class InvalidStudyError(LlmtuiError):
    doing = "read the study"


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

    def report_problem(self, text: str) -> None:
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


def studies_directory(workspace: Workspace) -> Path:
    """Where the studies of a workspace are."""
    return workspace.data / "studies"


def _tables(file: StudyFile) -> dict[str, Any]:
    return {key: value for key, value in msgspec.to_builtins(file).items() if value is not None}
