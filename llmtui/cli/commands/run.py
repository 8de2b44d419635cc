"""Commands that start something: demo, run, and recipe, which shows what would be started."""

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
    NAMED,
    NamedPath,
    detach_option,
    preset_option,
    processes_option,
    set_option,
    yes_option,
)
from llmtui.cli.commands.recipe_argument import ensure_agreed, from_file, load_recipe, placed, resolve
from llmtui.cli.console import can_draw, out, say
from llmtui.cli.run_output import EventFormatter, detach_on_interrupt, follow_run, print_result, replay
from llmtui.view.run_state import state_word
from llmtui.view.summary_text import describe_progress


class NoTerminalError(UsageError):
    doing = "open the workbench"


@click.command(short_help="Train a small model on Python's standard library; takes a few minutes.")
@set_option
@detach_option
@click.option("--plain", is_flag=True, help="Lines of text even where the workbench could open.")
def demo(overrides: tuple[str, ...], detach: bool, plain: bool) -> int:
    """Train a small model on the standard library of this Python, and let it write.

    Takes a few minutes on two cores and needs no network. On a terminal the workbench opens on it.
    """
    return _start(load_recipe(preset="demo", overrides=overrides), detach=detach, workbench=can_draw() and not plain)


@click.command(short_help="Build what a recipe says, or train on a text.")
@click.argument("what", type=NAMED, metavar="RECIPE|SOURCE")
@preset_option
@set_option
@click.option("--name", type=NAMED, help="What to call the run; derived from the recipe or source otherwise.")
@processes_option
@detach_option
@click.option("--workbench", is_flag=True, help="Open the workbench on it.")
@yes_option
def run(
    what: str,
    preset: str | None,
    overrides: tuple[str, ...],
    name: str | None,
    processes: int | None,
    detach: bool,
    workbench: bool,
    yes: bool,
) -> int:
    """Build what RECIPE, a file that ends in .toml, says; or train on SOURCE.

    SOURCE is the path of a file, a folder or a pattern; an https URL; hf:NAME, a data set of the Hugging Face hub;
    stdlib or stories. `llmtui data corpora` lists well-known ones.

    The run works in the background. Its progress is told until it ends; Ctrl-C stops the telling, not the run.
    """
    if workbench and not can_draw():
        raise NoTerminalError("this is no terminal to draw on", todo="leave out --workbench")
    recipe = placed(resolve(what, preset, overrides, name))
    ensure_agreed(Workspace().prepare(), recipe, yes)
    return _start(recipe, detach=detach, workbench=workbench, processes=processes or 1)


@click.command(short_help="Print a recipe with all its fields, as a file.")
@click.argument("file", type=NamedPath(), metavar="[FILE]", required=False)
@preset_option
@set_option
def recipe(file: Path | None, preset: str | None, overrides: tuple[str, ...]) -> None:
    """Print the recipe that FILE, --preset and --set make together: every field, what it means, what it takes."""
    if file is not None:
        out(to_toml(from_file(file, preset, overrides)), end="")
    else:
        out(to_toml(load_recipe(preset=preset, overrides=overrides)), end="")


def _start(recipe: Recipe, *, detach: bool, workbench: bool, processes: int = 1) -> int:
    """Create and start a run, and follow it unless `detach`; returns the exit code."""
    workspace = Workspace().prepare()
    created = Run.create(workspace, recipe, processes)
    with detach_on_interrupt(created):
        launch.start(created, workspace)
        if detach:
            out(created.id)
            say(f"{created.id} runs in the background; llmtui watch shows it")
            return 0
        if workbench:
            from llmtui.tui.launcher import run_workbench

            code = run_workbench(workspace, created.id)
            _print_state(created)
            return code
        say(f"{created.id} runs in the background; Ctrl-C stops following it, not the run")
        return follow_run(created, EventFormatter(), JournalReader(created.journal))


def _print_state(run: Run) -> None:
    """Print where the run is after the workbench was closed."""
    state = run.state()
    if state.is_active:
        say(f"{run.id}: {state_word(run, state)}, {describe_progress(run.summary())}")
    else:
        print_result(run, replay(run)[0])
