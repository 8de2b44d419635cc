"""`llmtui queue`: the runs that wait for a device."""

from __future__ import annotations

import click

from core.runs.lookup import find_run
from core.runs.queue import move, occupants, request_start, waiting
from core.storage.workspace import Workspace
from llmtui.cli.commands.options import run_argument
from llmtui.cli.console import print_json, print_message, print_output
from llmtui.view.queue_text import ordinal, using_text

FIRST, LAST = -(2**31), 2**31


@click.command(short_help="List the runs that wait for a device, or change their order.")
@run_argument()
@click.option("--first", "places", flag_value=FIRST, type=int, help="Let RUN start before all others.")
@click.option("--up", "places", flag_value=-1, type=int, help="Let RUN start one run earlier.")
@click.option("--down", "places", flag_value=1, type=int, help="Let RUN start one run later.")
@click.option("--last", "places", flag_value=LAST, type=int, help="Let RUN start after all others.")
@click.option("--now", is_flag=True, help="Start RUN now, beside the run that uses its device.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def queue(run_name: str | None, places: int | None, now: bool, as_json: bool) -> None:
    """List the runs that wait for a device. With RUN and an option, change when that run starts.

    Each run uses the processor, or a GPU, alone: two at once would take more than twice as long each. `llmtui run
    --share` does not wait, `llmtui stop RUN` takes a run out of the queue.
    """
    workspace = Workspace()
    if (places is not None or now) and run_name is None:
        raise click.UsageError("which run? Name it before the option")
    if run_name is not None:
        if places is None and not now:
            raise click.UsageError("what about it? Add --first, --up, --down, --last or --now")
        run = find_run(workspace, run_name)
        if now:
            request_start(run)
            print_message(f"{run.id} starts now")
            return
        move(run, places or 0)
    entries = waiting(workspace.runs)
    if as_json:
        print_json({"devices": occupants(workspace.runs), "waiting": [entry.run_id for entry in entries]})
        return
    for line in using_text(occupants(workspace.runs)):
        print_message(line)
    for number, entry in enumerate(entries, 1):
        print_output(f"{ordinal(number):>4}  {entry.run_id}")
    if not entries:
        print_message("no run waits")
