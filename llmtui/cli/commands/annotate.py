"""`llmtui note`, `tag` and `archive`: what a user writes about a run."""

from __future__ import annotations

import click
from msgspec.structs import replace

from core.plural import plural
from core.runs.annotations import Annotations, change_annotations, read_annotations, with_note, with_tags
from core.runs.lookup import find_run
from core.storage.workspace import Workspace
from llmtui.cli.commands.options import NAME, run_argument
from llmtui.cli.console import print_message, print_output
from llmtui.view.table import table


@click.command(short_help="Write a note on a run, or print its notes.")
@run_argument(required=True)
@click.argument("text", type=NAME, required=False)
@click.option("--step", type=click.IntRange(min=0), metavar="N", help="The note is on this training step.")
@click.option("--remove", is_flag=True, help="Remove the note.")
def note(run_name: str, text: str | None, step: int | None, remove: bool) -> None:
    """Write the note TEXT on RUN, in place of the one before; without TEXT, print its notes.

    Notes do not affect a run, which may be running meanwhile.
    """
    if remove and text is not None:
        raise click.UsageError("--remove takes no TEXT")
    run = find_run(Workspace(), run_name)
    if text is None and not remove:
        _print_notes(read_annotations(run.path), step)
        return
    change_annotations(run.path, lambda known: with_note(known, text or "", step))
    on = run.id if step is None else f"step {step:,} of {run.id}"
    print_message(f"the note on {on} is removed" if remove else f"noted on {on}")


def _print_notes(annotations: Annotations, step: int | None) -> None:
    if step is not None:
        print_output(annotations.step_notes.get(step, ""))
        return
    rows: list[tuple[str, ...]] = [("run", annotations.note)] if annotations.note else []
    rows += [(f"step {at:,}", text) for at, text in annotations.step_notes.items()]
    if rows:
        print_output(table(rows))
    else:
        print_message('it has no notes; write one: llmtui note RUN "TEXT"')


@click.command(
    short_help="Add and remove tags of a run.",
    # -h would be taken out of -hard
    context_settings={"ignore_unknown_options": True, "help_option_names": ["--help"]},
)
@run_argument(required=True)
@click.argument("changes", type=NAME, nargs=-1, metavar="[+TAG|-TAG]...")
def tag(run_name: str, changes: tuple[str, ...]) -> None:
    """Add tags to RUN (+TAG) and remove tags (-TAG); without any, print its tags.

    `llmtui ls --filter tag:TAG` lists the runs that have one.
    """
    run = find_run(Workspace(), run_name)
    if not changes:
        print_output("\n".join(read_annotations(run.path).tags))
        return
    removed = [change[1:] for change in changes if change.startswith("-")]
    added = [change.removeprefix("+") for change in changes if not change.startswith("-")]
    tags = change_annotations(run.path, lambda known: with_tags(known, added, removed)).tags
    print_message(f"{run.id}: {', '.join(tags)}" if tags else f"{run.id} has no tags")


@click.command(short_help="Leave runs out of the lists.")
@run_argument(required=True, nargs=-1)
@click.option("--undo", is_flag=True, help="List them again.")
def archive(run_name: tuple[str, ...], undo: bool) -> None:
    """Leave each RUN out of the lists; nothing is deleted. `llmtui ls --archived` lists them, too."""
    workspace = Workspace()
    runs = [find_run(workspace, name) for name in run_name]
    for run in runs:
        change_annotations(run.path, lambda known: replace(known, archived=not undo))
    print_message(f"{plural(len(runs), 'run')} {'listed again' if undo else 'archived'}")
