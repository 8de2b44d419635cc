"""`llmtui tune`: studies, which search for better values of a recipe's fields."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import msgspec

from core.errors import LlmtuiError, UsageError
from core.parsing import ParseError, read_toml
from core.recipe.file import load, to_toml
from core.recipe.schema import Recipe
from core.runs.control import request_stop as request_stop_of_run
from core.storage.files import write_atomic
from core.storage.workspace import Workspace
from core.tune.default_space import default_space
from core.tune.space import Values, with_values
from core.tune.start import open_trial, request_pause, request_stop, request_trial, start, unpause
from core.tune.study import Study, best_trial, find_study, study_ids
from core.tune.study_file import convert, parse_study
from core.tune.tpe import MIN_TRIALS, importances
from llmtui.cli.commands.group import SuggestingGroup
from llmtui.cli.commands.options import (
    NAME,
    PathType,
    detach_option,
    json_option,
    preset_option,
    set_option,
    yes_option,
)
from llmtui.cli.commands.recipe_argument import ensure_license_accepted, resolve, with_absolute_source
from llmtui.cli.console import print_error, print_json, print_message, print_output, print_table
from llmtui.cli.study_output import follow_study, print_study, trials_csv
from llmtui.view.study_text import study_state, trial_rows
from llmtui.view.units import cost


class StudyCommandError(UsageError):
    doing = "change the study"


class _StudyGroup(SuggestingGroup):
    """`llmtui tune RECIPE` is `llmtui tune start RECIPE`."""

    def resolve_command(self, context: click.Context, args: list[str]) -> tuple[Any, Any, list[str]]:
        if args and args[0] not in self.commands and _is_source(args[0]):
            args = ["start", *args]
        return super().resolve_command(context, args)


def _is_source(word: str) -> bool:
    """Whether a word is a recipe or a source rather than a mistyped command."""
    return word in ("stdlib", "stories") or any(mark in word for mark in "./:") or Path(word).exists()


study_argument = click.argument("study_name", type=NAME, metavar="[STUDY]", required=False)


@click.group(cls=_StudyGroup, short_help="Search for better values of a recipe's fields.")
def tune() -> None:
    """Search for better values of a recipe's fields: a study of many trials, which are ordinary runs.

    `llmtui tune RECIPE` starts a study; the other commands are about one. STUDY is the id of a study, the beginning of
    an id, or a name; the default is the newest study.
    """


@tune.command("start", short_help="Start a study of RECIPE or SOURCE; `llmtui tune RECIPE` is short for it.")
@click.argument("what", type=NAME, metavar="RECIPE|SOURCE")
@preset_option
@set_option
@click.option("--name", type=NAME, help="Name of the study; default: that of the recipe.")
@click.option(
    "--space", "space_file", type=PathType(), metavar="FILE", help="TOML file with a table [space], and settings."
)
@click.option("--trials", type=click.IntRange(1), metavar="N", help="Start at most so many trials.")
@click.option("--minutes", type=float, metavar="N", help="Minutes of training of all trials together.")
@click.option("--parallel", type=click.IntRange(1), metavar="N", help="Trials at once; default 1.")
@click.option("--repeats", type=click.IntRange(1), metavar="N", help="Trials of each combination, with other seeds.")
@click.option(
    "--sampler",
    type=click.Choice(["tpe", "random", "grid"]),
    help="How values are chosen: tpe learns from earlier trials (default if Optuna is installed), random, or grid.",
)
@click.option("--seed", type=click.IntRange(0), metavar="N", help="Random seed of the sampler; default 1.")
@detach_option
@yes_option
def start_study(
    what: str,
    preset: str | None,
    overrides: tuple[str, ...],
    name: str | None,
    space_file: Path | None,
    detach: bool,
    yes: bool,
    **settings: Any,
) -> int:
    """Train many variants of RECIPE, a file whose name ends in .toml, or on SOURCE, and find the best one.

    Each trial trains for as long as the recipe says (train.minutes, steps or tokens). The table [space] of FILE has a
    line for each field that varies, such as `train.lr = { low = 1e-4, high = 3e-3, log = true }` or
    `model.n_layer = [4, 6, 8]`. Without it, learning rates, batch size, warm-up, weight decay, dropout and depth vary
    around the recipe's values.
    """
    recipe = with_absolute_source(resolve(what, preset, overrides, name))
    workspace = Workspace().prepare()
    ensure_license_accepted(workspace, recipe, yes)
    tables = _read_settings(space_file, recipe) | {key: value for key, value in settings.items() if value is not None}
    tables.setdefault("sampler", "tpe" if _has_optuna() else "random")
    if "trials" not in tables and "minutes" not in tables and tables["sampler"] != "grid":
        tables["trials"] = 20
    file, _ = convert(tables, recipe, str(space_file or "the options"))
    study = Study.create(workspace, recipe, file)
    start(study, workspace)
    if detach:
        print_output(study.id)
        print_message(f"{study.id} runs in the background; llmtui tune show shows it")
        return 0
    print_message(f"{study.id} runs in the background; Ctrl-C stops following it, not the study")
    return follow_study(study, workspace)


def _read_settings(space_file: Path | None, recipe: Recipe) -> dict[str, Any]:
    if space_file is None:
        return {"space": default_space(recipe)}
    try:
        return dict(read_toml(space_file))
    except (OSError, ParseError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise StudyCommandError(reason.lower(), where=str(space_file)) from None


def _has_optuna() -> bool:
    from importlib.util import find_spec

    return find_spec("optuna") is not None


@tune.command("ls", short_help="List the studies.")
@json_option
def list_studies(as_json: bool) -> int:
    """List the studies, newest first."""
    workspace = Workspace()
    table: list[tuple[str, ...]] = [("STUDY", "STATE", "TRIALS", "BEST BPB")]
    for study_id in study_ids(workspace):
        try:
            study = Study.open(find_study(workspace, study_id))
        except LlmtuiError as error:
            print_error(error.sentence())
            continue
        trials = study.trials()
        best = best_trial(trials)
        if as_json:
            print_json({"id": study.id, "state": study_state(study), "trials": len(trials), "best": _record_of(best)})
        bits = cost(best.bits_per_byte) if best and best.bits_per_byte is not None else ""
        table.append((study.id, study_state(study), str(len(trials)), bits))
    if not study_ids(workspace):
        print_message("there are no studies yet; start one: llmtui tune RECIPE")
    elif not as_json and len(table) > 1:
        print_table(table)
    return 0


@tune.command("show", short_help="Show a study and its trials.")
@study_argument
@json_option
def show_study(study_name: str | None, as_json: bool) -> None:
    """Show STUDY: its trials, the best first, with the values that differ."""
    workspace, study = _open(study_name)
    if not as_json:
        print_study(study, workspace)
        return
    for row in trial_rows(study, workspace):
        print_json({"study": study.id, "state": row.state, **(_record_of(row.trial) or {})})


def _record_of(trial: Any) -> dict[str, Any] | None:
    return None if trial is None else dict(msgspec.to_builtins(trial))


@tune.command("watch", short_help="Follow a study until it ends.")
@study_argument
def watch_study(study_name: str | None) -> int:
    """Print the trials of STUDY as they end."""
    workspace, study = _open(study_name)
    return follow_study(study, workspace)


@tune.command("pause", short_help="Pause a study and its trials.")
@study_argument
def pause_study(study_name: str | None) -> None:
    """Pause the trials of STUDY, with everything in memory, and start no others, until `llmtui tune resume`."""
    _, study = _open_active(study_name)
    request_pause(study)
    print_message(f"{study.id} pauses; llmtui tune resume continues it")


@tune.command("resume", short_help="Continue a paused or stopped study.")
@study_argument
@detach_option
def resume_study(study_name: str | None, detach: bool) -> int:
    """Continue STUDY: end its pause, or start it again with the trials that have not ended."""
    workspace, study = _open(study_name)
    workspace.prepare()
    if study.controller() is not None:
        unpause(study, workspace)
        print_message(f"{study.id} continues")
        return 0
    start(study, workspace)
    print_message(f"{study.id} continues in the background")
    return 0 if detach else follow_study(study, workspace)


@tune.command("stop", short_help="Stop a study and its trials.")
@study_argument
def stop_study(study_name: str | None) -> None:
    """Stop the trials of STUDY, each with a checkpoint; `llmtui tune resume` continues them."""
    workspace, study = _open_active(study_name)
    unpause(study, workspace)
    request_stop(study)
    while study.controller() is not None:
        time.sleep(0.2)
    print_message(f"{study.id} has stopped; llmtui tune resume continues it")


@tune.command("add", short_help="Insert a trial with given values.")
@study_argument
@click.option("--set", "overrides", type=NAME, metavar="FIELD=VALUE", multiple=True, required=True, help="Its values.")
def add_trial(study_name: str | None, overrides: tuple[str, ...]) -> None:
    """Insert a trial into STUDY: it is the next one to start, whatever the limits of the study."""
    _, study = _open(study_name)
    values = _values(study, overrides)
    request_trial(study, values)
    print_message(f"the trial is the next one of {study.id}" + _unless_running(study))


def _values(study: Study, overrides: Sequence[str]) -> Values:
    """The values in `FIELD=VALUE` strings, checked. Raises RecipeError."""
    base = msgspec.to_builtins(study.recipe, str_keys=True)
    changed = msgspec.to_builtins(load(base=base, overrides=overrides), str_keys=True)
    values: Values = {}
    for override in overrides:
        key = override.partition("=")[0].strip()
        section, _, name = key.rpartition(".")
        table = changed[section] if section else changed
        values[key] = table[name]
    with_values(study.recipe, values)
    return values


def _unless_running(study: Study) -> str:
    return "" if study.controller() is not None else f"; start it: llmtui tune resume {study.id}"


@tune.command("edit", short_help="Edit settings and search space of a study.")
@study_argument
def edit_study(study_name: str | None) -> None:
    """Open study.toml of STUDY in your editor. A running study follows the new settings with its next trial."""
    _, study = _open(study_name)
    path = study.path / "study.toml"
    before = text = path.read_text("utf-8")
    edited = click.edit(text, extension=".toml")
    if edited is None or edited == before:
        print_message("nothing has changed")
        return
    parse_study(edited, study.recipe, str(path))
    write_atomic(path, edited.encode())
    print_message(f"{study.id} has new settings" + _unless_running(study))


@tune.command("drop", short_help="Stop one trial of a study.")
@click.argument("number", type=click.IntRange(1))
@click.option("--study", "study_name", type=NAME, metavar="STUDY", help="Default: the newest study.")
def drop_trial(number: int, study_name: str | None) -> None:
    """Stop trial NUMBER, whose result then does not count; the study continues with the next one."""
    workspace, study = _open(study_name)
    trial = next((trial for trial in study.trials() if trial.number == number), None)
    if trial is None:
        raise StudyCommandError(f"{study.id} has no trial {number}", todo="`llmtui tune show` lists them")
    if trial.ended is not None:
        raise StudyCommandError(f"trial {number} has ended ({trial.ended.outcome})", where=trial.run_id)
    run = open_trial(trial, workspace)
    if run is not None:
        request_stop_of_run(run)
    print_message(f"trial {number} stops")


@tune.command("best", short_help="Print the best values, or save them as a recipe.")
@study_argument
@click.option("--save", type=PathType(), metavar="FILE", help="Write the recipe of the best trial to FILE.")
def best_values(study_name: str | None, save: Path | None) -> int:
    """Print the recipe of the best trial of STUDY as TOML."""
    _, study = _open(study_name)
    best = best_trial(study.trials())
    if best is None:
        print_error(f"{study.id} has no result yet")
        return 1
    recipe = msgspec.structs.replace(with_values(study.recipe, best.values), name=study.recipe.name)
    result = f"{cost(best.bits_per_byte or 0.0)} bits per byte"
    text = f"# Trial {best.number} of study {study.id}, run {best.run_id}: {result}.\n{to_toml(recipe)}"
    if save is None:
        print_output(text, end="")
        return 0
    if save.exists():
        raise StudyCommandError("the file exists", where=str(save), todo="give another name")
    write_atomic(save.absolute(), text.encode())
    print_message(f"saved {save}; train it longer: llmtui run {save} --set train.minutes=N")
    return 0


@tune.command("importance", short_help="Print which fields matter most.")
@study_argument
def field_importance(study_name: str | None) -> int:
    """Print the share of each field in what makes trials of STUDY good, by PED-ANOVA. Needs llmtui[tune]."""
    _, study = _open(study_name)
    found = importances(study)
    if not found:
        print_error(f"{study.id} has fewer than {MIN_TRIALS} results")
        return 1
    for key, share in found.items():
        print_output(f"{key:<24} {100 * share:5.1f} %  {'#' * round(40 * share)}")
    return 0


@tune.command("export", short_help="Print all trials as CSV.")
@study_argument
def export_study(study_name: str | None) -> None:
    """Print the trials of STUDY as CSV: number, run, state, result and all values."""
    workspace, study = _open(study_name)
    rows = trial_rows(study, workspace)
    print_output(trials_csv(rows), end="")


def _open(study_name: str | None) -> tuple[Workspace, Study]:
    workspace = Workspace()
    return workspace, Study.open(find_study(workspace, study_name))


def _open_active(study_name: str | None) -> tuple[Workspace, Study]:
    workspace, study = _open(study_name)
    if study.controller() is None:
        state = study_state(study)
        raise StudyCommandError(f"{study.id} is {state}", todo=f"llmtui tune resume {study.id} continues it")
    return workspace, study
