"""`llmtui tune add`, `clone`, `retry`, `queue`, `promote`, `drop`, `edit`: changes of a study, also while it runs."""

from __future__ import annotations

import click

from core.plural import plural
from core.runs.control import request_stop as request_stop_of_run
from core.storage.files import write_atomic
from core.tune.constraints import require_possible
from core.tune.halving import next_stop
from core.tune.space import SpaceError, Values, typed_values, with_values
from core.tune.start import (
    another_seed,
    move_waiting,
    open_trial,
    request_drop,
    request_promotion,
    request_trial,
    waiting_trials,
)
from core.tune.study import Study
from core.tune.study_file import parse_study
from core.tune.trials import Trial
from llmtui.cli.commands.options import NAME, json_option
from llmtui.cli.commands.study_argument import (
    StudyCommandError,
    open_study,
    study_argument,
    study_option,
    trial_numbered,
    unless_running,
)
from llmtui.cli.console import print_json, print_message, print_table
from llmtui.view.study_text import values_text


@click.command("add", short_help="Insert a trial with given values.")
@study_argument
@click.option("--set", "overrides", type=NAME, metavar="FIELD=VALUE", multiple=True, required=True, help="Its values.")
def add_trial(study_name: str | None, overrides: tuple[str, ...]) -> None:
    """Insert a trial into STUDY, whatever its limits: it starts before all that the sampler chooses."""
    _, study = open_study(study_name)
    _insert(study, typed_values(study.recipe, overrides), None)


def _insert(study: Study, values: Values, seed: int | None) -> None:
    """Request a trial, and say when it starts."""
    before = len(waiting_trials(study))
    request_trial(study, values, seed)
    when = f"waits behind {plural(before, 'other')}" if before else "is the next one"
    print_message(f"the trial {when} of {study.id}" + unless_running(study))


@click.command("clone", short_help="Insert a trial like another one, with changes.")
@click.argument("number", type=click.IntRange(1))
@click.argument("overrides", type=NAME, metavar="[FIELD=VALUE]...", nargs=-1)
@study_option
def clone_trial(number: int, overrides: tuple[str, ...], study_name: str | None) -> None:
    """Insert a trial with the values of trial NUMBER but for those given, such as `llmtui tune clone 7 train.lr=3e-3`.

    Without changes it gets another seed: the difference of the two results is then noise.
    """
    _, study = open_study(study_name)
    trial = trial_numbered(study, number)
    if not overrides:
        _insert(study, trial.values, another_seed(study, trial.values))
        return
    values = trial.values | typed_values(study.recipe, overrides)
    with_values(study.recipe, values)
    _insert(study, values, None)


@click.command("retry", short_help="Insert a trial that has no result once more.")
@click.argument("number", type=click.IntRange(1))
@study_option
def retry_trial(number: int, study_name: str | None) -> None:
    """Insert a trial with the values and the seed of trial NUMBER, which failed, was stopped or is lost.

    A study does not repeat a trial that failed by itself. One whose reason has gone, such as a lack of memory, is worth
    another attempt.
    """
    _, study = open_study(study_name)
    trial = trial_numbered(study, number)
    if trial.ended is None or trial.ended.outcome == "done":
        what = "has not ended" if trial.ended is None else "is done"
        todo = f"llmtui tune clone {number} trains it with another seed"
        raise StudyCommandError(f"trial {number} {what}", todo=todo)
    _insert(study, trial.values, trial.seed)


@click.command("queue", short_help="List and reorder the inserted trials that wait.")
@study_argument
@click.option("--move", type=(click.IntRange(1), click.IntRange(1)), metavar="PLACE PLACE", help="From … to.")
@click.option("--drop", type=click.IntRange(1), metavar="PLACE", help="Take a trial out of the queue.")
@json_option
def queue_trials(study_name: str | None, move: tuple[int, int] | None, drop: int | None, as_json: bool) -> None:
    """List the trials inserted into STUDY that have not started, the next one first."""
    _, study = open_study(study_name)
    waiting = waiting_trials(study)
    for place in (*(move or ()), *([drop] if drop else [])):
        if place > len(waiting):
            have = plural(len(waiting), "inserted trial")
            raise StudyCommandError(f"there is no place {place}: {have} of {study.id} in the queue")
    if move:
        move_waiting(waiting, move[0] - 1, move[1] - 1)
    if drop:
        waiting[drop - 1][0].unlink(missing_ok=True)
    rows = [request for _, request in waiting_trials(study)]
    if as_json:
        for place, request in enumerate(rows, 1):
            print_json({"study": study.id, "place": place, "values": request.values, "seed": request.seed})
    elif rows:
        seeds = [each.seed or study.recipe.train.seed for each in rows]
        table = [
            (str(n), str(seed), values_text(each.values))
            for n, (seed, each) in enumerate(zip(seeds, rows, strict=True), 1)
        ]
        print_table([("PLACE", "SEED", "VALUES"), *table])
    else:
        print_message(f"no inserted trial of {study.id} waits")


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
    try:
        file, space = parse_study(edited, study.recipe, str(path))
        require_possible(file, space, study.recipe, str(path))
    except SpaceError as error:
        rejected = path.with_name("rejected.toml")
        write_atomic(rejected, edited.encode())
        error.kept = f"the settings are as before; your text is kept in {rejected}"
        raise
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
    stop = next_stop(study.file.scheduler, trial.stop_at)
    where = "its end" if stop == 1 else f"{100 * stop:.0f} % of its training"
    print_message(f"trial {number} is the next one, and trains to {where}" + unless_running(study))
