"""The argument STUDY of the commands of `llmtui tune`, and opening what it names."""

from __future__ import annotations

import click

from core.errors import UsageError
from core.storage.workspace import Workspace
from core.tune.lookup import find_study
from core.tune.study import Study
from core.tune.trials import Trial
from llmtui.cli.commands.options import NAME
from llmtui.view.study_text import study_state

study_argument = click.argument("study_name", type=NAME, metavar="[STUDY]", required=False)
study_option = click.option("--study", "study_name", type=NAME, metavar="STUDY", help="Default: the newest study.")


class StudyCommandError(UsageError):
    doing = "change the study"


def open_study(study_name: str | None) -> tuple[Workspace, Study]:
    """The study with that name. Raises StudyNotFoundError, InvalidStudyError, SpaceError."""
    workspace = Workspace()
    return workspace, Study.open(find_study(workspace, study_name))


def open_active_study(study_name: str | None) -> tuple[Workspace, Study]:
    """Like `open_study`. Raises StudyCommandError if it has no controller."""
    workspace, study = open_study(study_name)
    if study.controller() is None:
        state = study_state(study)
        raise StudyCommandError(f"{study.id} is {state}", todo=f"llmtui tune resume {study.id} continues it")
    return workspace, study


def trial_numbered(study: Study, number: int) -> Trial:
    """The trial with that number. Raises StudyCommandError."""
    trial = next((trial for trial in study.trials() if trial.number == number), None)
    if trial is None:
        raise StudyCommandError(f"{study.id} has no trial {number}", todo="`llmtui tune show` lists them")
    return trial


def unless_running(study: Study) -> str:
    """What to do so that a change takes effect; empty while the study runs."""
    return "" if study.controller() is not None else f"; the study does not run: llmtui tune resume {study.id}"
