"""A study at one moment, as the screens show it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from core.errors import LlmtuiError
from core.recipe.checks import RecipeError
from core.storage.locks import holder
from core.tune.requests import Request
from core.tune.start import waiting_trials
from core.tune.study import InvalidStudyError, Study
from core.tune.study_file import parse_study
from core.tune.trials import Trial
from llmtui.view.run_snapshot import RunSnapshot
from llmtui.view.study_text import StudyState, TrialRow, row_of, study_state


class StudySnapshot(NamedTuple):
    """What the directory of a study says."""

    id: str
    study: Study | None
    """None if it cannot be read. If study.toml was edited into nonsense it has the settings that are in force."""
    error: LlmtuiError | None = None
    """Why it cannot be read."""
    trials: tuple[Trial, ...] = ()
    """By number."""
    waiting: tuple[tuple[Path, Request], ...] = ()
    """Inserted trials that have not started, the next one first, see `core.tune.start.waiting_trials`."""
    state: StudyState = "stopped"
    problem: str = ""
    """What keeps its controller from continuing, or from following an edit of study.toml; not sanitised."""

    @property
    def name(self) -> str:
        """Not sanitised."""
        return self.study.name if self.study else self.id

    def rows(self, runs: Mapping[str, RunSnapshot]) -> list[TrialRow]:
        """The trials with what their runs are doing. runs: by id."""
        snapshots = ((trial, runs.get(trial.run_id)) for trial in self.trials)
        return [row_of(trial, run.state if run else None, run.summary if run else None) for trial, run in snapshots]


def change_key(path: Path) -> tuple[object, ...]:
    """Changes whenever the snapshot of the study in that directory may have changed. Raises OSError if it is gone."""
    sizes: list[tuple[int, int]] = []
    for name in ("recipe.toml", "study.toml", "journal.jsonl", "problem.txt", "control"):
        try:
            status = (path / name).stat()
            sizes.append((status.st_size, status.st_mtime_ns))
        except FileNotFoundError:
            sizes.append((-1, 0))
    if sizes == [(-1, 0)] * len(sizes):
        path.stat()
    return holder(path / "controller.lock"), *sizes


def take_study_snapshot(path: Path) -> StudySnapshot:
    """The study in `path`."""
    try:
        study = Study.open(path)
        trials, state = tuple(study.trials()), study_state(study)
        problem = study.problem or _problem_of_edit(study)
        return StudySnapshot(path.name, study, None, trials, tuple(waiting_trials(study)), state, problem)
    except LlmtuiError as error:
        return StudySnapshot(path.name, None, error)
    except OSError as error:
        why = (error.strerror or str(error)).lower()
        return StudySnapshot(path.name, None, InvalidStudyError(why, where=str(error.filename or path)))


def _problem_of_edit(study: Study) -> str:
    """Why study.toml is not followed, if it was edited while no controller runs."""
    path = study.path / "study.toml"
    text = path.read_text("utf-8", errors="replace")
    if text == study.text:
        return ""
    try:
        parse_study(text, study.recipe, path.name)
    except RecipeError as error:
        return error.sentence()
    return ""
