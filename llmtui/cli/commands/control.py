"""`llmtui stop`, `pause`, `resume` and `rm`."""

from __future__ import annotations

import contextlib
import signal
import time
from pathlib import Path

import click
import psutil

from core.errors import UsageError
from core.runs import launch
from core.runs.control import request_pause, request_stop, request_unpause
from core.runs.deletion import bytes_in, remove_directory
from core.runs.directory import Run, RunState
from core.runs.errors import InvalidRunError, RunActiveError
from core.runs.leftovers import remove_leftovers
from core.runs.lookup import find_run, find_runs
from core.runs.recipe_change import change_recipe
from core.storage.locks import ELSEWHERE
from core.storage.workspace import Workspace
from llmtui.cli.commands.options import (
    NAME,
    confirm,
    detach_option,
    no_confirmation_option,
    nodes_option,
    processes_option,
    run_argument,
    set_option,
    share_option,
)
from llmtui.cli.commands.placement import Placement, placement_changes, resumed_placement
from llmtui.cli.console import print_message
from llmtui.cli.run_output import detach_on_interrupt, follow_run, print_started, replay
from llmtui.view.run_state import next_step_text, state_text
from llmtui.view.units import size

STOP_TIMEOUT = 60.0
"""Seconds without activity of the worker after which `stop` gives up."""

BUSY_SECONDS = 1.0
"""Seconds of processor time that count as activity: a step of a large model may write no event for minutes."""

MESSAGE_DELAY = 10.0
"""Seconds of waiting after which a message says so."""

KILL_TIMEOUT = 10.0
"""Seconds between SIGTERM and SIGKILL."""


class NotRunningError(UsageError):
    doing = "pause the run"


class AlreadyRunningError(RunActiveError):
    doing = "start the run"


@click.command(short_help="Save a checkpoint and stop a run.")
@run_argument()
@click.option("--now", is_flag=True, help="Kill the processes within seconds, without a checkpoint.")
def stop(run_name: str | None, now: bool) -> None:
    """Save a checkpoint of RUN and stop it; waits until it has stopped. `llmtui resume` continues from there."""
    run = _find_alive(run_name)
    if not run.state().is_active:
        print_message(f"{run.id} is not running ({state_text(run)})")
        return
    request_stop(run)
    if now:
        _kill_processes(run)
    elif not _wait_until_ended(run):
        raise launch.StopTimeoutError(
            f"{run.id} has not stopped, and did nothing for {STOP_TIMEOUT:.0f} s",
            todo=f"stop it without a checkpoint: llmtui stop --now {run.id}",
        )
    print_message(f"{run.id}: {state_text(run)}; {next_step_text(run)}")


def _find_alive(run_name: str | None) -> Run:
    """The newest running one of the runs matching `run_name`, or else the newest."""
    runs = find_runs(Workspace(), run_name)
    return next((run for run in runs if run.state().is_active), runs[0])


def _wait_until_ended(run: Run) -> bool:
    """Wait until the run has ended, however long its step takes; False if its worker shows no activity."""
    started = active = time.monotonic()
    size_before, busy_before, noted = -1, 0.0, False
    while not launch.wait_until_ended(run, min(1.0, STOP_TIMEOUT)):
        now, size_now, busy_now = time.monotonic(), _journal_size(run), _processor_seconds(run)
        if size_now != size_before or busy_now - busy_before >= BUSY_SECONDS:
            size_before, busy_before, active = size_now, busy_now, now
        elif now - active >= STOP_TIMEOUT:
            return False
        if now - started >= MESSAGE_DELAY and not noted:
            noted = True
            print_message(
                f"{run.id} stops after its current step; at once, without a checkpoint: llmtui stop --now {run.id}"
            )
    return True


def _journal_size(run: Run) -> int:
    try:
        return run.journal.stat().st_size
    except OSError:
        return 0


def _processor_seconds(run: Run) -> float:
    """Processor time of the worker in seconds; 0 if unknown."""
    try:
        times = psutil.Process(run.writer() or 0).cpu_times()
    except (psutil.Error, ValueError):
        return 0.0
    return float(times.user + times.system)


def _kill_processes(run: Run) -> None:
    """Kill the processes of a run: SIGTERM, then SIGKILL. Raises RemoteRunError, StopTimeoutError."""
    run.require_local()
    if ELSEWHERE in (run.supervisor(), run.writer()):
        raise launch.StopTimeoutError(
            f"the processes of {run.id} run in another container or on another machine, where signals do not reach",
            kept="it was asked to save a checkpoint and stop at its next step",
            todo="stop it at once: llmtui stop --now, there",
        )
    for signal_, patience in ((signal.SIGTERM, KILL_TIMEOUT), (signal.SIGKILL, KILL_TIMEOUT)):
        request_stop(run)  # again: if the worker took the request and hangs, its supervisor must not restart it
        with contextlib.suppress(ProcessLookupError):
            launch.kill(run, sig=signal_)
        if launch.wait_until_ended(run, patience):
            return
    raise launch.StopTimeoutError(
        f"{run.id} survived SIGKILL", where=f"pid {run.writer()}", todo="the system may be stuck"
    )


@click.command(short_help="Pause a run.")
@run_argument()
def pause(run_name: str | None) -> None:
    """Pause RUN at its next step, with everything kept in memory, until `llmtui resume`."""
    run = _find_alive(run_name)
    if not run.state().is_active:
        raise NotRunningError(f"{run.id} is not running ({state_text(run)})", todo=next_step_text(run))
    request_pause(run)
    print_message(f"{run.id} pauses at its next step; llmtui resume {run.id} continues it")


@click.command(short_help="Continue a paused, stopped, failed or interrupted run.")
@run_argument()
@set_option
@processes_option
@click.option(
    "--on",
    "target",
    type=NAME,
    metavar="TARGET",
    help="Where to train it from now on: local, ssh:HOST,HOST, slurm[:PARTITION]; default: where it was.",
)
@nodes_option
@detach_option
@share_option
def resume(
    run_name: str | None,
    overrides: tuple[str, ...],
    processes: int | None,
    target: str | None,
    nodes: int | None,
    detach: bool,
    share: bool,
) -> int:
    """Continue RUN: end its pause, or start it again from its last checkpoint and follow it until it ends.

    --set changes settings that need no new start, such as learning rates, limits, schedule, intervals and sampling.
    With a higher limit (train.steps, tokens or minutes) a run that is done continues, too. --processes changes the
    number of processes; --on moves it to another target, or with `--on local` to this machine, to as many processes as
    a new run would have there.
    """
    workspace = Workspace().prepare()
    runs = find_runs(workspace, run_name)
    run, state = runs[0], runs[0].state()
    if state in (RunState.DONE, RunState.FAILED):  # `pause` prefers a running run of that name: so does this
        run = next((run for run in runs if run.state() is RunState.PAUSED), run)
        state = run.state()
    before = Placement.of(run)
    place = before if state.is_active else resumed_placement(run, target, nodes, processes, workspace)
    asks_for_place = (target or nodes or processes) and (target, nodes, processes) != (None, None, run.processes)
    if (overrides or asks_for_place) and state.is_active:
        what = f"{run.id} is running, and settings cannot be changed meanwhile"
        raise AlreadyRunningError(what, todo=f"llmtui stop {run.id}, then repeat the command")
    if overrides:
        for changed in change_recipe(run, overrides, note=print_message):
            print_message(f"{run.id}: {changed}")
            state = RunState.STOPPED  # it may have been done
    if place != before:
        run.rewrite(run.recipe, place.processes, target=place.target, nodes=place.nodes)
        for change in placement_changes(before, place):
            print_message(f"{run.id}: {change}")
    if state is RunState.DONE:
        print_message(f"{run.id} is done; to train longer, give a higher limit: --set train.steps=N")
        return 0
    if state is RunState.PAUSED:
        request_unpause(run)
        print_message(f"{run.id} continues")
        return 0
    if state.is_active:
        raise AlreadyRunningError(f"{run.id} is running already", todo=f"llmtui watch {run.id} shows it")
    formatter, reader = replay(run)
    with detach_on_interrupt(run):
        launch.start(run, workspace, share=share)
        print_started(run, share=share, detach=detach)
        return 0 if detach else follow_run(run, formatter, reader)


@click.command(short_help="Delete runs.")
@run_argument(required=True, nargs=-1)
@no_confirmation_option
def rm(run_name: tuple[str, ...], yes: bool) -> None:
    """Delete each RUN with its checkpoints and samples. Data sets are kept, since other runs may use them."""
    workspace = Workspace()
    runs = {path.name: path for path in (_directory(workspace, name) for name in run_name)}
    for name, path in runs.items():
        if not yes:
            confirm(f"Delete {name} ({size(bytes_in(path))})?")
        host = _host_of(path)
        remove_directory(path)
        print_message(f"deleted {name}" + (f" on this machine; the run itself is on {host}" if host else ""))
    remove_leftovers(workspace)


def _host_of(path: Path) -> str:
    try:
        return Run.open(path).host
    except InvalidRunError:
        return ""


def _directory(workspace: Workspace, run_name: str) -> Path:
    """Directory of the run called `run_name`; an unreadable run only by its full id."""
    try:
        return find_run(workspace, run_name).path
    except InvalidRunError as error:
        return workspace.runs / error.run
