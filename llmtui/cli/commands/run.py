"""`llmtui run`, `demo` and `recipe`."""

from __future__ import annotations

from pathlib import Path

import click

from core.errors import UsageError
from core.recipe.file import to_toml
from core.recipe.schema import Recipe
from core.runs import launch
from core.runs.directory import Run
from core.storage.journal import JournalReader
from core.storage.workspace import Workspace
from llmtui.cli.commands.options import (
    NAME,
    PathType,
    detach_option,
    nodes_option,
    preset_option,
    processes_option,
    set_option,
    share_option,
    target_option,
    yes_option,
)
from llmtui.cli.commands.placement import Placement, resolve_placement
from llmtui.cli.commands.recipe_argument import (
    ensure_license_accepted,
    from_file,
    load_recipe,
    resolve,
    with_absolute_source,
)
from llmtui.cli.console import is_interactive, print_message, print_output
from llmtui.cli.run_output import EventFormatter, detach_on_interrupt, follow_run, print_result, print_started, replay
from llmtui.tui.settings import load_settings, with_default_rules
from llmtui.view.run_state import state_word
from llmtui.view.summary_text import describe_progress


class NoTerminalError(UsageError):
    doing = "open the workbench"


@click.command(short_help="Train a small model on Python's standard library; takes a few minutes.")
@set_option
@detach_option
@share_option
@click.option("--plain", is_flag=True, help="Print lines of text instead of opening the workbench.")
def demo(overrides: tuple[str, ...], detach: bool, share: bool, plain: bool) -> int:
    """Train a small model on the standard library of this Python, and sample from it.

    Takes a few minutes on two cores and needs no network. On a terminal, the workbench opens and shows the run.
    """
    recipe = load_recipe(preset="demo", overrides=overrides)
    return _start(recipe, detach=detach, workbench=is_interactive() and not plain, share=share)


@click.command(short_help="Train a model by a recipe, or on a text.")
@click.argument("what", type=NAME, metavar="RECIPE|SOURCE")
@preset_option
@set_option
@click.option("--name", type=NAME, help="Name of the run; default: derived from the recipe or source.")
@processes_option
@target_option
@nodes_option
@detach_option
@share_option
@click.option("--workbench", is_flag=True, help="Open the workbench and show the run.")
@yes_option
def run(
    what: str,
    preset: str | None,
    overrides: tuple[str, ...],
    name: str | None,
    processes: int | None,
    target: str,
    nodes: int | None,
    detach: bool,
    share: bool,
    workbench: bool,
    yes: bool,
) -> int:
    """Train by RECIPE, a file whose name ends in .toml, or on SOURCE.

    SOURCE is the path of a file or folder, or a glob pattern; an https URL; hf:NAME, a data set of the Hugging Face
    hub; stdlib or stories. `llmtui data corpora` lists well-known data sets.

    The run is a background process. Its progress is printed until it ends; Ctrl-C stops the printing, not the run.
    """
    if workbench and not is_interactive():
        raise NoTerminalError("standard output is not a terminal", todo="leave out --workbench")
    recipe = with_absolute_source(resolve(what, preset, overrides, name))
    ensure_license_accepted(Workspace().prepare(), recipe, yes)
    placement = resolve_placement(target, nodes, processes, Workspace())
    return _start(recipe, detach=detach, workbench=workbench, share=share, placement=placement)


@click.command(short_help="Print a recipe with all its fields, as TOML.")
@click.argument("file", type=PathType(), metavar="[FILE]", required=False)
@preset_option
@set_option
def recipe(file: Path | None, preset: str | None, overrides: tuple[str, ...]) -> None:
    """Print the recipe of FILE, --preset and --set as TOML: every field with its description and valid values."""
    if file is not None:
        print_output(to_toml(from_file(file, preset, overrides)), end="")
    else:
        print_output(to_toml(load_recipe(preset=preset, overrides=overrides)), end="")


def _start(recipe: Recipe, *, detach: bool, workbench: bool, share: bool, placement: Placement | None = None) -> int:
    """Create and start a run, and follow it unless `detach`; returns the exit code."""
    workspace = Workspace().prepare()
    recipe = with_default_rules(recipe, load_settings(workspace.config / "config.toml")[0])
    placement = placement or Placement()
    created = Run.create(workspace, recipe, placement.processes, target=placement.target, nodes=placement.nodes)
    if recipe.rules.command:  # a recipe may come from somebody else
        print_message(f"when a rule of the run acts, this command runs: {recipe.rules.command}")
    with detach_on_interrupt(created):
        launch.start(created, workspace, share=share)
        if detach:
            print_output(created.id)
            print_started(created, share=share, detach=True)
            return 0
        if workbench:
            from llmtui.tui.launcher import run_workbench

            code = run_workbench(workspace, created.id)
            _print_state(created)
            return code
        print_started(created, share=share, detach=False)
        return follow_run(created, EventFormatter(), JournalReader(created.journal))


def _print_state(run: Run) -> None:
    """Print where the run is after the workbench was closed."""
    state = run.state()
    if state.is_active:
        print_message(f"{run.id}: {state_word(run, state)}, {describe_progress(run.summary())}")
    else:
        print_result(run, replay(run)[0])
