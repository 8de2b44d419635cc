"""`llmtui tune best`, `importance`, `slices` and `export`: what the trials of a study have shown."""

from __future__ import annotations

from pathlib import Path

import click
import msgspec

from core.errors import did_you_mean
from core.recipe.file import to_toml
from core.storage.files import write_atomic
from core.tune.slices import improvements, slices
from core.tune.space import with_values
from core.tune.study import best_trial
from core.tune.tpe import MIN_TRIALS, importances
from llmtui.cli.commands.options import NAME, PathType, json_option
from llmtui.cli.commands.study_argument import StudyCommandError, open_study, study_argument
from llmtui.cli.console import print_error, print_json, print_message, print_output, print_table
from llmtui.cli.study_output import trials_csv
from llmtui.view.study_text import improvements_table, slice_table, trial_rows
from llmtui.view.units import cost


@click.command("best", short_help="Print the best values, or save them as a recipe.")
@study_argument
@click.option("--save", type=PathType(), metavar="FILE", help="Write the recipe of the best trial to FILE.")
def best_values(study_name: str | None, save: Path | None) -> int:
    """Print the recipe of the best trial of STUDY as TOML."""
    _, study = open_study(study_name)
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


@click.command("importance", short_help="Print which fields matter most.")
@study_argument
def field_importance(study_name: str | None) -> int:
    """Print the share of each field in what makes trials of STUDY good, by PED-ANOVA. Needs llmtui[tune]."""
    _, study = open_study(study_name)
    found = importances(study)
    if not found:
        print_error(f"{study.id} has fewer than {MIN_TRIALS} results")
        return 1
    for key, share in found.items():
        print_output(f"{key:<24} {100 * share:5.1f} %  {'#' * round(40 * share)}")
    return 0


@click.command("slices", short_help="Print the results by each field's values.")
@study_argument
@click.option("--field", "field_name", type=NAME, metavar="FIELD", help="Only this field.")
@json_option
def field_slices(study_name: str | None, field_name: str | None, as_json: bool) -> int:
    """Print the results of STUDY by the values of each field, and its best result over time.

    The other fields are as they were in each trial: a field that matters shows even so, one that does not makes no
    difference. With --json: one line for each field with all its trials, and one for each improvement.
    """
    _, study = open_study(study_name)
    trials = study.trials()
    found = slices(study.space, study.recipe, trials)
    known = [each.key for each in found]
    if field_name is not None and field_name not in known:
        todo = did_you_mean(field_name, known) or f"there is {', '.join(known)}"
        raise StudyCommandError(f"{field_name} does not vary in {study.id}", todo=todo if known else "")
    found = [each for each in found if field_name in (None, each.key)]
    if not found:
        print_error(f"{study.id} has no result yet")
        return 1
    if as_json:
        for each in found:
            print_json({"study": study.id, "slice": each})
        for improvement in improvements(trials):
            print_json({"study": study.id, "improvement": improvement._asdict()})
        return 0
    for each in found:
        print_table(slice_table(each))
    print_table(improvements_table(improvements(trials)))
    return 0


@click.command("export", short_help="Print all trials as CSV.")
@study_argument
def export_study(study_name: str | None) -> None:
    """Print the trials of STUDY as CSV: number, run, state, result and all values."""
    workspace, study = open_study(study_name)
    rows = trial_rows(study, workspace)
    print_output(trials_csv(rows), end="")
