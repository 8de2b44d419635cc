"""`llmtui tune`: studies, which search for better values of a recipe's fields.

The commands that change a study are in `tune_trials`, those about its results in `tune_results`.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import click
import msgspec

from core.errors import LlmtuiError
from core.parsing import ParseError, read_toml
from core.recipe.schema import Recipe
from core.storage.workspace import Workspace
from core.tune.full_run import UNITS, longer_limits
from core.tune.lookup import find_study, study_ids
from core.tune.start import complete_settings, request_pause, request_stop, start, unpause
from core.tune.study import Study
from core.tune.study_file import StudyFileError
from core.tune.trials import best_trial
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
from llmtui.cli.commands.study_argument import open_active_study, open_study, study_argument
from llmtui.cli.commands.tune_lr import bracket_lr
from llmtui.cli.commands.tune_results import best_values, export_study, field_importance, field_slices, forecast_study
from llmtui.cli.commands.tune_scaling import scaling_law
from llmtui.cli.commands.tune_trials import (
    add_trial,
    clone_trial,
    drop_trial,
    edit_study,
    promote_trial,
    queue_trials,
    retry_trial,
)
from llmtui.cli.console import print_error, print_json, print_message, print_output, print_table
from llmtui.cli.study_output import follow_study, print_study
from llmtui.view.study_text import study_state, trial_rows
from llmtui.view.units import cost


class _StudyGroup(SuggestingGroup):
    """`llmtui tune RECIPE` is `llmtui tune start RECIPE`."""

    def resolve_command(self, context: click.Context, args: list[str]) -> tuple[Any, Any, list[str]]:
        if args and args[0] not in self.commands and _is_source(args[0]):
            args = ["start", *args]
        return super().resolve_command(context, args)


def _is_source(word: str) -> bool:
    """Whether a word is a recipe or a source rather than a mistyped command."""
    return word in ("stdlib", "stories") or any(mark in word for mark in "./:") or Path(word).exists()


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
@click.option("--flops", type=float, metavar="X", help="FLOPs of each trial, whatever the size of its model.")
@click.option(
    "--second-objective",
    type=click.Choice(["tokens_per_second", "parameters"]),
    help="Search for trials that are good in this, too: the result is a front.",
)
@click.option("--parallel", type=click.IntRange(1), metavar="N", help="Trials at once; default 1.")
@click.option("--repeats", type=click.IntRange(1), metavar="N", help="Trials of each combination, with other seeds.")
@click.option(
    "--sampler",
    type=click.Choice(["tpe", "random", "grid"]),
    help="How values are chosen: tpe learns from earlier trials (default if Optuna is installed), random, or grid.",
)
@click.option(
    "--scheduler",
    type=click.Choice(["asha", "none"]),
    help="asha: trials wait at shares of their training, and the best are promoted (default, but for a grid); none: "
    "every trial trains to its end.",
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
    scheduler: str | None,
    detach: bool,
    yes: bool,
    **settings: Any,
) -> int:
    """Train many variants of RECIPE, a file whose name ends in .toml, or on SOURCE, and find the best one.

    Each trial trains for as long as the recipe says (train.minutes, steps or tokens). The table [space] of FILE has a
    line for each field that varies, such as `train.lr = { low = 1e-4, high = 3e-3, log = true }` or
    `model.n_layer = [4, 6, 8]`. Without it, learning rates, batch size, warm-up, weight decay, dropout and depth vary
    around the recipe's values.

    Trials wait after a ninth and after a third of their training, and the best third of them continues each time; in
    FILE a table [scheduler] sets `eta` (3) and `minimum` (0.1, the share before which none waits), or `kind = "none"`.
    """
    recipe = with_absolute_source(resolve(what, preset, overrides, name))
    workspace = Workspace().prepare()
    ensure_license_accepted(workspace, recipe, yes)
    tables = _read_settings(space_file) | {key: value for key, value in settings.items() if value is not None}
    if scheduler and isinstance(given := tables.get("scheduler", {}), dict):
        tables["scheduler"] = given | {"kind": scheduler}
    if full := _full_limits(what, preset, overrides, recipe):
        tables.setdefault("full_run", full)
    study = Study.create(workspace, recipe, complete_settings(tables, recipe, str(space_file or "the options")))
    start(study, workspace)
    if detach:
        print_output(study.id)
        print_message(f"{study.id} runs in the background; llmtui tune show shows it")
        return 0
    print_message(f"{study.id} runs in the background; Ctrl-C stops following it, not the study")
    return follow_study(study, workspace)


def _full_limits(what: str, preset: str | None, overrides: tuple[str, ...], recipe: Recipe) -> dict[str, float] | None:
    """The limits of the recipe itself where options have shortened them for the trials."""
    names = [f"train.{unit}" for unit in UNITS]
    others = [override for override in overrides if override.partition("=")[0].strip() not in names]
    if len(others) == len(overrides):
        return None
    return longer_limits(resolve(what, preset, others).train, recipe.train)


def _read_settings(space_file: Path | None) -> dict[str, Any]:
    if space_file is None:
        return {}
    try:
        return dict(read_toml(space_file))
    except (OSError, ParseError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise StudyFileError(reason.lower(), where=str(space_file)) from None


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
    workspace, study = open_study(study_name)
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
    workspace, study = open_study(study_name)
    return follow_study(study, workspace)


@tune.command("pause", short_help="Pause a study and its trials.")
@study_argument
def pause_study(study_name: str | None) -> None:
    """Pause the trials of STUDY, with everything in memory, and start no others, until `llmtui tune resume`."""
    _, study = open_active_study(study_name)
    request_pause(study)
    print_message(f"{study.id} pauses; llmtui tune resume continues it")


@tune.command("resume", short_help="Continue a paused or stopped study.")
@study_argument
@detach_option
def resume_study(study_name: str | None, detach: bool) -> int:
    """Continue STUDY: end its pause, or start it again with the trials that have not ended."""
    workspace, study = open_study(study_name)
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
    workspace, study = open_active_study(study_name)
    unpause(study, workspace)
    request_stop(study)
    while study.controller() is not None:
        time.sleep(0.2)
    print_message(f"{study.id} has stopped; llmtui tune resume continues it")


for _command in (
    *(add_trial, clone_trial, retry_trial, queue_trials, promote_trial, drop_trial, edit_study),
    *(best_values, field_importance, field_slices, forecast_study, scaling_law, export_study, bracket_lr),
):
    tune.add_command(_command)
