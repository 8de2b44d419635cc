"""A study at one moment, as the screens show it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from core.errors import LlmtuiError
from core.recipe.checks import RecipeError
from core.recipe.file import load
from core.storage.locks import holder
from core.tune.space import Space
from core.tune.study import InvalidStudyError, Study, Trial
from core.tune.study_file import StudyFile
from llmtui.view.run_snapshot import RunSnapshot
from llmtui.view.study_text import StudyState, TrialRow, row_of, study_state

LOG_END = 4096
"""Bytes at the end of a controller's log in which its last line is."""


class StudySnapshot(NamedTuple):
    """What the directory of a study says."""

    id: str
    study: Study | None
    """None if it cannot be read. If study.toml was edited into nonsense it has the settings before, see `settings`."""
    problem: LlmtuiError | None
    """Why study.toml, or all of the study, cannot be read."""
    trials: tuple[Trial, ...] = ()
    """By number."""
    state: StudyState = "stopped"
    last_words: str = ""
    """What the controller of a study that has stopped wrote last; not sanitised."""

    @property
    def name(self) -> str:
        """Not sanitised."""
        return self.study.name if self.study else self.id

    @property
    def settings(self) -> StudyFile | None:
        """None if they are not known."""
        return self.study.file if self.study and self.study.space.parameters else None

    def rows(self, runs: Mapping[str, RunSnapshot]) -> list[TrialRow]:
        """The trials with what their runs are doing. runs: by id."""
        snapshots = ((trial, runs.get(trial.run_id)) for trial in self.trials)
        return [row_of(trial, run.state if run else None, run.summary if run else None) for trial, run in snapshots]


def change_key(path: Path) -> tuple[object, ...]:
    """Changes whenever the snapshot of the study in that directory may have changed. Raises OSError if it is gone."""
    sizes: list[tuple[int, int]] = []
    for name in ("recipe.toml", "study.toml", "journal.jsonl", "control", "log.txt"):
        try:
            status = (path / name).stat()
            sizes.append((status.st_size, status.st_mtime_ns))
        except FileNotFoundError:
            sizes.append((-1, 0))
    if sizes == [(-1, 0)] * len(sizes):
        path.stat()
    return holder(path / "controller.lock"), *sizes


def take_study_snapshot(path: Path, before: StudySnapshot | None = None) -> StudySnapshot:
    """The study in `path`. before: its last snapshot, whose settings are shown if study.toml is unreadable."""
    problem: LlmtuiError | None = None
    try:
        study = Study.open(path)
    except RecipeError as error:  # of study.toml, or of recipe.toml
        problem = error
        known = _without_settings(path) if before is None else before.study
        if known is None:
            return StudySnapshot(path.name, None, problem)
        study = known
    except InvalidStudyError as error:
        return StudySnapshot(path.name, None, error)
    try:
        trials = tuple(study.trials())
        state = study_state(study)
    except OSError as error:
        why = (error.strerror or str(error)).lower()
        return StudySnapshot(path.name, study, InvalidStudyError(why, where=str(error.filename or path)))
    last_words = _last_line(study.log) if state == "stopped" else ""
    return StudySnapshot(path.name, study, problem, trials, state, last_words)


def _without_settings(path: Path) -> Study | None:
    """The study in `path` for its trials alone; None without its recipe."""
    try:
        recipe = load(file=path / "recipe.toml")
    except (LlmtuiError, OSError, UnicodeDecodeError):
        return None
    return Study(path, recipe, StudyFile(), Space(parameters=()))


def _last_line(log: Path) -> str:
    try:
        with log.open("rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - LOG_END))
            lines = file.read().decode(errors="replace").splitlines()
    except OSError:
        return ""
    return next((line for line in reversed(lines) if line.strip()), "")
