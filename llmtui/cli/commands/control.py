"""Commands that steer runs: stop, pause, resume, rm."""

from __future__ import annotations

import contextlib
import signal
import sys
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
from llmtui.cli.commands.options import detach_option, processes_option, run_argument, set_option
from llmtui.cli.console import say
from llmtui.cli.run_output import detach_on_interrupt, follow_run, replay
from llmtui.view.run_state import next_step, standing
from llmtui.view.units import size

PATIENCE = 60.0
"""Seconds without a sign of life after which a run is not waited for any more."""

SIGN = 1.0
"""Seconds of processor time that are one: a step of a large model says nothing for minutes."""

SPEAK_AFTER = 10.0
"""Seconds of waiting after which is said what for."""

GRACE = 10.0
"""Seconds between SIGTERM and SIGKILL."""


class NotRunningError(UsageError):
    doing = "pause the run"


class AlreadyRunningError(RunActiveError):
    doing = "start the run"


@click.command(short_help="Save a checkpoint and end a run.")
@run_argument()
@click.option("--now", is_flag=True, help="Do not wait for a checkpoint: end its processes within seconds.")
def stop(wanted: str | None, now: bool) -> None:
    """Ask RUN to save a checkpoint and end, and wait until it has; `llmtui resume` goes on from there."""
    run = _living(wanted)
    if not run.state().is_active:
        say(f"{run.id} is not running ({standing(run)})")
        return
    request_stop(run)
    if now:
        _end(run)
    elif not _ended(run):
        raise launch.StopTimeoutError(
            f"{run.id} has not ended, nor done anything for {PATIENCE:.0f} s",
            todo=f"end it without a checkpoint: llmtui stop --now {run.id}",
        )
    say(f"{run.id}: {standing(run)}; {next_step(run)}")


def _living(wanted: str | None) -> Run:
    """Of the runs that `wanted` may mean the newest that lives, or the newest of all where none does."""
    runs = find_runs(Workspace(), wanted)
    return next((run for run in runs if run.state().is_active), runs[0])


def _ended(run: Run) -> bool:
    """Wait until the run has ended, however long its step takes; False where it shows no sign of life."""
    began = heard = time.monotonic()
    said, busy, spoke = -1, 0.0, False
    while not launch.wait_until_ended(run, min(1.0, PATIENCE)):
        now, size_, busy_ = time.monotonic(), _journal_size(run), _busy(run)
        if size_ != said or busy_ - busy >= SIGN:
            said, busy, heard = size_, busy_, now
        elif now - heard >= PATIENCE:
            return False
        if now - began >= SPEAK_AFTER and not spoke:
            spoke = True
            say(f"{run.id} ends after what it is at; at once, without a checkpoint: llmtui stop --now {run.id}")
    return True


def _journal_size(run: Run) -> int:
    try:
        return run.journal.stat().st_size
    except OSError:
        return 0


def _busy(run: Run) -> float:
    """Seconds of processor time that the worker has had; 0 where that cannot be seen."""
    try:
        times = psutil.Process(run.writer() or 0).cpu_times()
    except (psutil.Error, ValueError):
        return 0.0
    return float(times.user + times.system)


def _end(run: Run) -> None:
    """End the processes of a run by signals, the polite one first."""
    if ELSEWHERE in (run.supervisor(), run.writer()):
        raise launch.StopTimeoutError(
            f"the processes of {run.id} run in another container or on another machine, where signals do not reach",
            kept="it was asked to save a checkpoint and end, which it does at its next step",
            todo="end it at once: llmtui stop --now, there",
        )
    for signal_, patience in ((signal.SIGTERM, GRACE), (signal.SIGKILL, GRACE)):
        request_stop(run)  # again: a worker that took the request and hangs must not be started anew by its supervisor
        with contextlib.suppress(ProcessLookupError):
            launch.kill(run, sig=signal_)
        if launch.wait_until_ended(run, patience):
            return
    raise launch.StopTimeoutError(
        f"{run.id} survived SIGKILL", where=f"pid {run.writer()}", todo="the system may be stuck"
    )


@click.command(short_help="Make a run wait.")
@run_argument()
def pause(wanted: str | None) -> None:
    """Make RUN wait at its next step, with everything in memory, until `llmtui resume`."""
    run = _living(wanted)
    if not run.state().is_active:
        raise NotRunningError(f"{run.id} is not running ({standing(run)})", todo=next_step(run))
    request_pause(run)
    say(f"{run.id} waits from its next step on; llmtui resume {run.id} goes on with it")


@click.command(short_help="Go on with a paused, stopped, failed or interrupted run.")
@run_argument()
@set_option
@processes_option
@detach_option
def resume(wanted: str | None, overrides: tuple[str, ...], processes: int | None, detach: bool) -> int:
    """Go on with RUN: end its pause, or start it again from its last checkpoint and tell of it until it ends.

    With --set it goes on with other settings: learning rates, limits, schedule, intervals and the like, and what is
    drawn. With a later end (train.steps, tokens or minutes) also a run that is done goes on. With --processes it goes
    on with so many; else with as many as before.
    """
    workspace = Workspace().prepare()
    runs = find_runs(workspace, wanted)
    run, state = runs[0], runs[0].state()
    if state in (RunState.DONE, RunState.FAILED):  # `pause` took the living one of that name: what it made wait goes on
        run = next((run for run in runs if run.state() is RunState.PAUSED), run)
        state = run.state()
    other = processes not in (None, run.processes)
    if (overrides or other) and state.is_active:
        what = f"{run.id} is running, and its settings change only while it is not"
        raise AlreadyRunningError(what, todo=f"llmtui stop {run.id}, then resume it so")
    if overrides:
        for changed in change_recipe(run, overrides, note=say):
            say(f"{run.id}: {changed}")
            state = RunState.STOPPED  # if it was done, it is no longer
    if processes is not None and other:
        before = run.processes
        run.rewrite(run.recipe, processes)
        say(f"{run.id}: processes {before} → {processes}")
    if state is RunState.DONE:
        say(f"{run.id} is done; there is nothing to go on with unless it gets a later end: --set train.steps=N")
        return 0
    if state is RunState.PAUSED:
        request_unpause(run)
        say(f"{run.id} goes on")
        return 0
    if state.is_active:
        raise AlreadyRunningError(f"{run.id} is running already", todo=f"llmtui watch {run.id} shows it")
    formatter, reader = replay(run)
    with detach_on_interrupt(run):
        launch.start(run, workspace)
        say(f"{run.id} goes on in the background")
        return 0 if detach else follow_run(run, formatter, reader)


@click.command(short_help="Delete runs.")
@run_argument(required=True, nargs=-1)
@click.option("--yes", is_flag=True, help="Do not ask.")
def rm(wanted: tuple[str, ...], yes: bool) -> None:
    """Delete each RUN with its checkpoints and samples. Data that other runs may use stays."""
    workspace = Workspace()
    runs = {path.name: path for path in (_directory(workspace, name) for name in wanted)}
    for name, path in runs.items():
        if not yes:
            if not sys.stdin.isatty():
                raise click.UsageError("nobody can be asked here; repeat it with --yes")
            click.confirm(f"Delete {name} ({size(bytes_in(path))})?", abort=True, err=True)
        remove_directory(path)
        say(f"deleted {name}")
    remove_leftovers(workspace)


def _directory(workspace: Workspace, wanted: str) -> Path:
    """Where the run that `wanted` names lies; one that cannot be read by its id only."""
    try:
        return find_run(workspace, wanted).path
    except InvalidRunError as trouble:
        return workspace.runs / trouble.run
