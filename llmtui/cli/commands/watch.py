"""`llmtui watch`."""

from __future__ import annotations

import click

from core.parsing import ParseError, parse_json
from core.runs.curves import Curves
from core.runs.directory import QUICK_READ_BYTES, Run
from core.runs.lookup import find_run
from core.storage.journal import JournalReader
from core.storage.workspace import Workspace
from llmtui.cli.commands.options import run_argument
from llmtui.cli.console import is_interactive, print_json, print_message, print_output
from llmtui.cli.run_output import INDENT, EventFormatter, StallReporter, follow, print_result


@click.command(short_help="Watch a run until it ends.")
@run_argument()
@click.option("--plain", is_flag=True, help="Print lines of text instead of opening the workbench.")
@click.option("--json", "as_json", is_flag=True, help="Print the run's events as they come, one JSON object per line.")
def watch(run_name: str | None, plain: bool, as_json: bool) -> int:
    """Watch RUN until it ends: in the workbench on a terminal, otherwise in lines of text.

    The exit code is that of the run: 0 done, 3 stopped, otherwise failed.
    """
    workspace = Workspace()
    run = find_run(workspace, run_name)
    if as_json:
        return _watch_json(run)
    if is_interactive() and not plain:
        from llmtui.tui.launcher import run_workbench

        return run_workbench(workspace.prepare_for_reading(), run.id)
    formatter, reader = _print_past_events(run)
    for event in follow(run, reader.iter_events, StallReporter(run, formatter).check):
        for line in formatter.format(event):
            print_output(line, indent=INDENT)
    return print_result(run, formatter)


def _print_past_events(run: Run) -> tuple[EventFormatter, JournalReader]:
    """Print the events so far, of a long journal the newest of each kind; returns what continues after them."""
    curves, reader = run.load_curves()
    if reader.offset <= QUICK_READ_BYTES:
        curves, reader = Curves(), JournalReader(run.journal)
    formatter, newest = EventFormatter(), curves.newest()
    if curves.noted > len(newest):
        print_message(
            f"the newest {len(newest):,} of {curves.noted:,} events; llmtui watch --json {run.id} prints the journal"
        )
    for event in newest:
        for line in formatter.format(event, progress=False):
            print_output(line, indent=INDENT)
    formatter.summary = curves.summary
    for event in reader.iter_events():
        for line in formatter.format(event, progress=False):
            print_output(line, indent=INDENT)
    return formatter, reader


def _watch_json(run: Run) -> int:
    """Print the journal as it grows; returns the run's exit code."""
    for line in follow(run, JournalReader(run.journal).iter_lines):
        try:
            event = parse_json(line, object)
        except ParseError:
            continue  # a damaged line, which every reader of a journal skips
        if isinstance(event, dict):
            print_json(event)
    ended = run.end_event()
    return ended.exit_code if ended else 1
