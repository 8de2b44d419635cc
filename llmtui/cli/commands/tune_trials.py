"""`llmtui tune add`, `drop` and `edit`: changes of a study, also while it runs."""

from __future__ import annotations

import click

from core.runs.control import request_stop as request_stop_of_run
from core.storage.files import write_atomic
from core.tune.halving import next_stop
from core.tune.space import typed_values
from core.tune.start import open_trial, request_drop, request_promotion, request_trial
from core.tune.study import Trial
from core.tune.study_file import parse_study
from llmtui.cli.commands.options import NAME
from llmtui.cli.commands.study_argument import (
    StudyCommandError,
    open_study,
    study_argument,
    study_option,
    trial_numbered,
    unless_running,
)
from llmtui.cli.console import print_message


@click.command("add", short_help="Insert a trial with given values.")
@study_argument
@click.option("--set", "overrides", type=NAME, metavar="FIELD=VALUE", multiple=True, required=True, help="Its values.")
def add_trial(study_name: str | None, overrides: tuple[str, ...]) -> None:
    """Insert a trial into STUDY: it is the next one to start, whatever the limits of the study."""
    _, study = open_study(study_name)
    request_trial(study, typed_values(study.recipe, overrides))
    print_message(f"the trial is the next one of {study.id}" + unless_running(study))


@click.command("edit", short_help="Edit settings and search space of a study.")
@study_argument
def edit_study(study_name: str | None) -> None:
    """Open study.toml of STUDY in your editor. A running study follows the new settings with its next trial."""
    _, study = open_study(study_name)
    path = study.path / "study.toml"
    before = text = path.read_text("utf-8")
    edited = click.edit(text, extension=".toml")
    if edited is None or edited == before:
        print_message("nothing has changed")
        return
    parse_study(edited, study.recipe, str(path))
    write_atomic(path, edited.encode())
    print_message(f"{study.id} has new settings" + unless_running(study))


@click.command("drop", short_help="Stop one trial of a study.")
@click.argument("number", type=click.IntRange(1))
@study_option
def drop_trial(number: int, study_name: str | None) -> None:
    """Stop trial NUMBER, whose result then does not count; the study continues with the next one."""
    workspace, study = open_study(study_name)
    trial = trial_numbered(study, number)
    _require_open(trial)
    run = open_trial(trial, workspace)
    if trial.paused:
        request_drop(study, number)
        print_message(f"trial {number} is dropped" + unless_running(study))
        return
    if run is not None:
        request_stop_of_run(run)
    print_message(f"trial {number} stops")


def _require_open(trial: Trial) -> None:
    if trial.ended is not None:
        raise StudyCommandError(f"trial {trial.number} has ended ({trial.ended.outcome})", where=trial.run_id)


@click.command("promote", short_help="Let a trial that waits at a rung train further.")
@click.argument("number", type=click.IntRange(1))
@study_option
def promote_trial(number: int, study_name: str | None) -> None:
    """Continue trial NUMBER, which waits at a rung, to the next one: it is the next one to start."""
    _, study = open_study(study_name)
    trial = trial_numbered(study, number)
    _require_open(trial)
    if trial.paused is None:
        raise StudyCommandError(f"trial {number} waits at no rung", todo="`llmtui tune show` lists those that do")
    request_promotion(study, number)
    stop = 100 * next_stop(study.file.scheduler, trial.stop_at)
    print_message(f"trial {number} trains to {stop:.0f} % of its training" + unless_running(study))
