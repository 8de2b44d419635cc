"""`llmtui tune lr`: five short runs with different learning rates."""

from __future__ import annotations

from typing import Any

import click
from msgspec.structs import replace

from core.recipe.schema import Recipe
from core.storage.workspace import Workspace
from core.train.schedule import limits
from core.tune.space import field_value
from core.tune.start import complete_settings, start
from core.tune.study import Study
from core.tune.trials import best_trial
from llmtui.cli.commands.options import NAME, json_option, preset_option, set_option, yes_option
from llmtui.cli.commands.recipe_argument import ensure_license_accepted, resolve, with_absolute_source
from llmtui.cli.console import print_error, print_json, print_message, print_output, print_table
from llmtui.cli.study_output import wait_for_study
from llmtui.view.study_text import bracket_table, bracket_text

FACTOR = 10.0
"""The rates go from a tenth of the recipe's to ten times it."""

MINUTES = 0.5
"""Of each run, unless the recipe ends sooner."""


@click.command("lr", short_help="Try five learning rates in short runs.")
@click.argument("what", type=NAME, metavar="RECIPE|SOURCE")
@preset_option
@set_option
@click.option(
    "--minutes",
    type=click.FloatRange(min=0, min_open=True),
    default=MINUTES,
    metavar="N",
    help=f"Minutes of each run at most; default {MINUTES:g}.",
)
@click.option(
    "--field",
    type=click.Choice(["train.lr", "train.muon_lr"]),
    help="The rate that varies; default: Muon's where the recipe uses Muon, which moves most weights.",
)
@json_option
@yes_option
def bracket_lr(
    what: str,
    preset: str | None,
    overrides: tuple[str, ...],
    minutes: float,
    field: str | None,
    as_json: bool,
    yes: bool,
) -> int:
    """Train RECIPE five times for a short while, at learning rates from a tenth to ten times its own, and compare.

    The runs are a study, so that they can be shown, charted and continued like any other: `llmtui tune show`.
    """
    recipe = with_absolute_source(resolve(what, preset, overrides, None))
    workspace = Workspace().prepare()
    ensure_license_accepted(workspace, recipe, yes)
    field = field or ("train.muon_lr" if recipe.train.optimizer == "muon" else "train.lr")
    study = Study.create(workspace, *bracket(recipe, field, minutes))
    start(study, workspace)
    print_message(f"{study.id} runs in the background; Ctrl-C stops following it, not the study")
    code = wait_for_study(study, workspace)
    trials = study.trials()
    best = best_trial(trials)
    if as_json:
        for trial in trials:
            print_json({"study": study.id, "field": field, "trial": trial, "best": trial is best})
        return code
    print_table(bracket_table(trials, field))
    if best is None:
        print_error(f"no run of {study.id} has a result")
        return code or 1
    print_output(bracket_text(trials, field))
    return code


def bracket(recipe: Recipe, field: str, minutes: float) -> tuple[Recipe, Any]:
    """The recipe of the runs and the settings of a study of five rates at equal ratios."""
    minutes = min(minutes, limits(recipe.train).get("minutes", minutes))
    recipe = replace(recipe, train=replace(recipe.train, minutes=minutes))
    rate = float(field_value(recipe, field))
    space = {field: {"low": rate / FACTOR, "high": min(1.0, rate * FACTOR), "log": True}}
    return recipe, complete_settings({"sampler": "grid", "space": space}, recipe, field)
