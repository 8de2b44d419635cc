"""Commands that start something: demo, run, and recipe, which shows what would be started."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import click

from core.errors import UsageError
from core.events import GeneratedSample, StageStarted
from core.recipe.file import load, to_toml
from core.recipe.schema import Recipe
from core.runs import launch
from core.runs.directory import Run, State
from core.storage.journal import JournalReader, read_backwards
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
from llmtui.cli.commands.recipe_argument import ensure_agreed, from_file, placed, resolve
from llmtui.cli.console import can_draw, complain, out, say
from llmtui.view.event_text import INDENT, Narrator, describe_failure, describe_progress, follow, result
from llmtui.view.run_state import next_step, standing, state_word


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
    return _begin(load(preset="demo", overrides=overrides), detach=detach, workbench=can_draw() and not plain)


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
    return _begin(recipe, detach=detach, workbench=workbench, processes=processes or 1)


@click.command(short_help="Print a recipe with all its fields, as a file.")
@click.argument("file", type=NamedPath(), metavar="[FILE]", required=False)
@preset_option
@set_option
def recipe(file: Path | None, preset: str | None, overrides: tuple[str, ...]) -> None:
    """Print the recipe that FILE, --preset and --set make together: every field, what it means, what it takes."""
    if file is not None:
        out(to_toml(from_file(file, preset, overrides)), end="")
    else:
        out(to_toml(load(preset=preset, overrides=overrides)), end="")


def _begin(recipe: Recipe, *, detach: bool, workbench: bool, processes: int = 1) -> int:
    """Start a run for `recipe` and stay with it as far as is wanted; the exit code."""
    workspace = Workspace().prepare()
    started = Run.create(workspace, recipe, processes)
    with left_to_itself(started):
        launch.start(started, workspace)
        if detach:
            out(started.id)
            say(f"{started.id} works in the background; llmtui watch shows it")
            return 0
        if workbench:
            from llmtui.tui.launcher import run_workbench

            code = run_workbench(workspace, started.id)
            _say_where_it_stands(started)
            return code
        say(f"{started.id} works in the background; Ctrl-C leaves it to itself")
        return stay_with(started, Narrator(), JournalReader(started.journal))


@contextlib.contextmanager
def left_to_itself(run: Run) -> Iterator[None]:
    """Ctrl-C in this block ends the command but not the run, and says how to reach it again."""
    try:
        yield
    except KeyboardInterrupt:
        if run.state().alive:
            say(f"\n{run.id} goes on; llmtui watch {run.id} shows it, llmtui stop {run.id} stops it")
        else:
            say(f"\n{run.id}: {standing(run)}; {next_step(run)}")
        raise


def _say_where_it_stands(run: Run) -> None:
    """What a person who has left the workbench may want to know."""
    state = run.state()
    if state.alive:
        say(f"{run.id}: {state_word(run, state)}, {describe_progress(run.summary())}")
    else:
        conclude(run, replayed(run)[0])


def replayed(run: Run) -> tuple[Narrator, JournalReader]:
    """Somebody who has heard all that the run has said so far, and where its journal goes on."""
    summary, tail = run.folded()
    told = Narrator(summary)
    drawn: list[GeneratedSample] = []
    for event in read_backwards(run.journal):  # what the last stage drew stands at the end, if it drew
        if isinstance(event, GeneratedSample):
            drawn.append(event)
        elif isinstance(event, StageStarted):
            told.samples = drawn[::-1] if event.stage == "sample" else []
            break
    for event in tail.iter_events():
        for _ in told.tell(event):
            pass
    return told, tail


def stay_with(run: Run, told: Narrator, tail: JournalReader) -> int:
    """Tell of the run until it ends, then print what came of it; the exit code."""
    for event in follow(run, tail.iter_events):
        for line in told.tell(event):
            say(line, indent=INDENT)
    return conclude(run, told)


def conclude(run: Run, told: Narrator) -> int:
    """Print the result of a run that has ended, or say why there is none; the exit code."""
    state = run.state()
    if state is State.DONE:
        for line in result(run, told):
            out(line)
        return 0
    if state is State.STOPPED:
        say(f"{run.id} was stopped; llmtui resume {run.id} goes on with it")
    else:
        complain(f"{run.id} {state.value}: {describe_failure(run)}")
    ended = run.last_word()
    return (ended.exit_code if ended else 0) or 1
