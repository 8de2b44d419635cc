"""`llmtui logs`: the log and the journal of a run as lines."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import click

from core.errors import LlmtuiError
from core.runs.directory import Run
from core.runs.lookup import find_run
from core.storage.workspace import Workspace
from llmtui.cli.commands.options import run_argument
from llmtui.cli.console import print_message, print_output
from llmtui.view.log_lines import journal_lines, log_lines

PERIOD = 0.5
"""Seconds between two polls of a file that is followed."""


class LogError(LlmtuiError):
    """The log cannot be read."""

    doing = "read the log"


@click.command(short_help="Print the log or the journal of a run.")
@run_argument()
@click.option("--journal", is_flag=True, help="The events of the journal instead of the output of the worker.")
@click.option("--follow", "-f", is_flag=True, help="Print new lines until the run ends.")
@click.option("--json", "as_json", is_flag=True, help="Print the events of the journal as JSON, as they are stored.")
def logs(run_name: str | None, journal: bool, follow: bool, as_json: bool) -> None:
    """Print the log of RUN: what the worker and its libraries wrote, warnings and errors among it.

    Ctrl-C ends --follow, not the run.
    """
    run = find_run(Workspace(), run_name)
    journal = journal or as_json
    path, as_lines = (run.journal, journal_lines) if journal else (run.log, log_lines)
    for raw in _lines(run, path, follow):
        if as_json:
            print_output(raw.decode(errors="replace").rstrip())
        else:
            print_output(as_lines([raw])[0].text)


def _lines(run: Run, path: Path, follow: bool) -> Iterator[bytes]:
    """The lines of a file; with `follow` also those that are added while the run is active. Raises LogError."""
    if not path.exists() and not (follow and run.state().is_active):
        print_message(f"{run.id} has no {path.name} yet")
        return
    try:
        while not path.exists():
            time.sleep(PERIOD)
        with path.open("rb") as file:
            while True:
                ended = not follow or not run.state().is_active  # before reading: what comes after it is the last
                yield from _whole_lines(file, ended)
                if ended:
                    return
                time.sleep(PERIOD)
    except OSError as error:
        raise LogError((error.strerror or str(error)).lower(), where=str(path)) from None


def _whole_lines(file: BinaryIO, ended: bool) -> Iterator[bytes]:
    """The lines from the present place on; one that is still being written is left for the next time."""
    while line := file.readline():
        if not line.endswith(b"\n") and not ended:
            file.seek(-len(line), 1)
            return
        yield line
