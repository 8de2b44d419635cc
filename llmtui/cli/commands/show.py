"""`llmtui ls`, `show` and `locate`."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import click

from core.checkpoints import readable_checkpoints
from core.errors import did_you_mean
from core.recipe.file import PRESETS
from core.run_names import RunNotFoundError, run_ids
from core.runs.annotations import read_annotations
from core.runs.directory import UNREADABLE, Run, RunState
from core.runs.errors import InvalidRunError
from core.runs.failure import describe_failure
from core.runs.lookup import find_run, iter_runs
from core.runs.remote_state import inference_paths
from core.runs.stall import find_stall
from core.runs.summary import StageProgress
from core.storage.workspace import Workspace
from core.vocab.sizes import expected_size
from llmtui.cli.architecture_output import print_architecture
from llmtui.cli.commands.options import NAME, json_option, run_argument
from llmtui.cli.console import (
    columns,
    print_error,
    print_json,
    print_message,
    print_output,
    print_table,
)
from llmtui.clients.remote_inference import is_remote
from llmtui.view.failure_text import failure_text
from llmtui.view.run_filter import EXAMPLE, RunFilter, checked_filter
from llmtui.view.run_snapshot import RunSnapshot, journal_age, measure, take_snapshot
from llmtui.view.run_state import state_word
from llmtui.view.run_text import ended_by, parent_text, stall_text
from llmtui.view.summary_text import describe_progress
from llmtui.view.table import table
from llmtui.view.units import clock, cost, duration, facts, perplexity, rate, size

COLUMNS = ("RUN", "STATE", "STAGE", "DONE", "BITS/BYTE", "SPEED", "LEFT", "MADE", "TAGS", "WHY")
OPTIONAL_COLUMNS = ("MADE", "SPEED", "STAGE", "TAGS")
"""Columns left out on narrow terminals, in this order; a run's id has its date."""

SMOOTHING = 0.9
"""Of the training loss that `ls --filter` compares."""


class Selection(NamedTuple):
    """Which runs are listed."""

    filter: RunFilter = RunFilter((), ())
    archived: bool = False
    """Whether archived ones are, too."""

    def select(self, run: Run) -> RunSnapshot | None:
        """A snapshot of `run` if it is listed. Raises OSError."""
        snapshot = take_snapshot(run)
        if snapshot.annotations.archived and not self.archived:
            return None
        if self.filter.measured:
            snapshot = snapshot.with_measurement(measure(run, SMOOTHING))
        return snapshot if self.filter.matches(snapshot) else None


@click.command(short_help="List the runs, newest first.")
@click.option(
    "--filter",
    "filter_text",
    type=NAME,
    metavar="TERMS",
    help=f"Only runs that match, such as '{EXAMPLE}': parts of names, columns of the workbench, fields of the recipe.",
)
@click.option("--archived", is_flag=True, help="Archived runs, too.")
@json_option
def ls(filter_text: str | None, archived: bool, as_json: bool) -> int:
    """List the runs, newest first, with their state, progress and results."""
    workspace, selection = Workspace(), Selection(checked_filter(filter_text or ""), archived)
    if not as_json:
        return list_runs(workspace, selection)
    for found in _snapshots(workspace, selection):
        print_json(_unreadable_record(found) if isinstance(found, InvalidRunError) else _as_record(found))
    return 0


def list_runs(workspace: Workspace, selection: Selection | None = None) -> int:
    """Print the table of runs, and errors about those that cannot be read; returns 0."""
    selection = selection or Selection()
    found = list(_snapshots(workspace, selection))
    if not found:
        if not run_ids(workspace):
            print_message("there are no runs yet; start one: llmtui demo, or llmtui run PATH")
        elif selection.filter.terms:
            print_message("no run matches the filter")
        else:
            print_message("all runs are archived; llmtui ls --archived lists them")
        return 0
    blank = [""] * (len(COLUMNS) - 3)
    rows = [
        (row.run, UNREADABLE, *blank, row.what) if isinstance(row, InvalidRunError) else _table_row(row)
        for row in found
    ]
    print_table(_fit_width([COLUMNS, *rows], columns()) if sys.stdout.isatty() else [COLUMNS, *rows])
    for row in found:
        if isinstance(row, InvalidRunError):
            print_error(row.sentence())
    return 0


def _fit_width(rows: list[tuple[str, ...]], cells: int) -> list[tuple[str, ...]]:
    """The table for a terminal: without columns that are empty, and without SPARED as far as it is too wide."""
    kept = [name for name, *column in zip(*rows, strict=True) if any(column)]

    def without(*names: str) -> list[tuple[str, ...]]:
        indices = [COLUMNS.index(name) for name in kept if name not in names]
        return [tuple(row[index] for index in indices) for row in rows]

    for name in OPTIONAL_COLUMNS:
        if len(table(without("WHY")).partition("\n")[0]) <= cells:
            break
        kept = [each for each in kept if each != name]
    return without()


def _snapshots(workspace: Workspace, selection: Selection) -> Iterator[RunSnapshot | InvalidRunError]:
    """The selected runs, newest first, and the errors of runs that cannot be read."""
    for run in iter_runs(workspace):
        if isinstance(run, InvalidRunError):
            yield run
            continue
        try:
            snapshot = selection.select(run)
        except OSError as error:
            yield InvalidRunError.of(error, run.path)
        else:
            if snapshot:
                yield snapshot


def _unreadable_record(error: InvalidRunError) -> dict[str, Any]:
    """The record of an unreadable run for `ls --json`."""
    return {"id": error.run, "path": str(error.path), "state": UNREADABLE, "problem": error.sentence()}


def _table_row(snapshot: RunSnapshot) -> tuple[str, ...]:
    """The columns of one run."""
    run, state, summary = snapshot.run, snapshot.state, snapshot.summary
    stage, works = summary.current_stage, state is RunState.RUNNING and not snapshot.stall
    return (
        run.id,
        state_word(run, state),
        summary.stage,
        f"{stage.share:.0%}" if stage.share is not None else "",
        cost(summary.evaluation.bits_per_byte, bound=summary.evaluation.bound) if summary.evaluation else "",
        rate(summary.tokens_per_second, "tok") if works and summary.tokens_per_second else "",
        duration(stage.seconds_left) if works and stage.seconds_left is not None else "",
        clock(run.made_at),
        " ".join(snapshot.annotations.tags),
        _why(snapshot),
    )


def _why(snapshot: RunSnapshot) -> str:
    """Why it failed, ended by itself, or makes no progress."""
    if snapshot.stall:
        return stall_text(snapshot.stall)
    return failure_text(snapshot.failure).what if snapshot.failure else ended_by(snapshot)


def _as_record(snapshot: RunSnapshot) -> dict[str, Any]:
    """The record of a run for `ls --json`; times in seconds, rates per second, shares from 0 to 1."""
    run, state, summary = snapshot.run, snapshot.state, snapshot.summary
    metric, evaluation = summary.metric, summary.evaluation
    stage, works = summary.current_stage, state is RunState.RUNNING and not snapshot.stall
    return {
        "id": run.id,
        "name": run.name,
        "path": str(run.path),
        "state": state.value,
        "why": snapshot.failure,
        "stall": snapshot.stall,
        "made_at": run.made_at,
        "parent": run.parent,
        "stage": summary.stage or None,
        "share": stage.share,
        "seconds_left": stage.seconds_left if works else None,
        "step": metric.step if metric else None,
        "loss": metric.loss if metric else None,
        "tokens_per_second": (summary.tokens_per_second or None) if works else None,
        "validation_loss": evaluation.loss if evaluation else None,
        "bits_per_byte": evaluation.bits_per_byte if evaluation else None,
        "bound": evaluation.bound if evaluation else None,
        "tags": snapshot.annotations.tags,
        "note": snapshot.annotations.note or None,
        "step_notes": snapshot.annotations.step_notes,
        "archived": snapshot.annotations.archived,
    }


@click.command(short_help="Show details of a run.")
@run_argument()
@click.option("--model", "model_alone", is_flag=True, help="Draw its model instead, and explain each of its steps.")
@json_option
def show(run_name: str | None, model_alone: bool, as_json: bool) -> None:
    """Show details of RUN: state, stages, losses, checkpoints, size."""
    run = find_run(Workspace(), run_name)
    if model_alone:
        info = run.summary().shape
        vocabulary = info.vocabulary if info else expected_size(run.recipe.tokenize).entries
        print_architecture(run.recipe, vocabulary, as_json)
    elif as_json:
        checkpoints = [checkpoint.path.name for checkpoint in readable_checkpoints(run.checkpoints)]
        print_json(
            _as_record(take_snapshot(run))
            | {"recipe": run.recipe, "summary": run.summary(), "checkpoints": checkpoints, "bytes": run.bytes()}
        )
    else:
        print_table(_detail_rows(run))


def _stage_state(stage: StageProgress, state: RunState) -> str:
    """The state of a stage, given the state of its run."""
    if stage.state != "working" or state.is_active:
        return stage.state
    share = f" at {stage.share:.0%}" if stage.share is not None else ""
    return ("stopped" if state is RunState.STOPPED else "interrupted") + share


def _detail_rows(run: Run) -> list[tuple[str, ...]]:
    summary, state = run.summary(), run.state()
    rows = [
        ("run", run.id),
        (
            "state",
            state_word(run, state) + (f", {describe_progress(summary)}" if state.is_active and summary.stage else ""),
        ),
    ]
    stall = find_stall(summary, journal_age(run)) if state is RunState.RUNNING else None
    if stall:
        rows.append(("but", stall_text(stall)))
    if state in (RunState.STOPPED, RunState.DONE) and summary.ended and summary.ended.what:
        rows.append(("because", f"of a rule of its recipe: {summary.ended.what}"))
    if state in (RunState.FAILED, RunState.INTERRUPTED):
        rows += [
            ("because" if n == 0 else "", line) for n, line in enumerate(failure_text(describe_failure(run)).lines)
        ]
    rows += [
        ("made", clock(run.made_at)),
        *([("branch", parent_text(run.parent))] if run.parent else []),
        ("source", run.recipe.source.corpus),
    ]
    rows += [
        (name, ", ".join(filter(None, [_stage_state(stage, state), facts(stage.facts)])))
        for name, stage in summary.stages.items()
    ]
    if summary.shape:
        rows += [("model", f"{summary.shape.parameters:,} parameters")]
    if summary.metric:
        rows += [("trained", f"step {summary.metric.step:,}, {duration(summary.metric.seconds)}")]
    if summary.evaluation and math.isfinite(summary.evaluation.loss):
        loss, bound = summary.evaluation.loss, summary.evaluation.bound
        rows += [
            ("validation", f"{cost(loss, bound=bound)} nats per token (perplexity {perplexity(loss, bound=bound)})"),
            ("bits per byte", cost(summary.evaluation.bits_per_byte, bound=bound)),
        ]
    rows += [(name, f"{cost(bits)} bits per byte") for name, bits in summary.compression_baselines.items()]
    checkpoints = [checkpoint.path.name for checkpoint in readable_checkpoints(run.checkpoints)]
    if checkpoints:
        rows += [("checkpoints", ", ".join(checkpoints))]
    there = [path.name for path in reversed(inference_paths(run)) if is_remote(path)]
    if there:
        rows += [(f"on {run.host}", ", ".join(there))]
    if summary.note:
        rows += [(summary.note.level, summary.note.text)]
    annotations = read_annotations(run.path)
    if annotations.tags:
        rows += [("tags", ", ".join(annotations.tags))]
    if annotations.note:
        rows += [("note", annotations.note)]
    rows += [(f"note on step {step:,}", text) for step, text in annotations.step_notes.items()]
    if annotations.archived:
        rows += [("archived", f"llmtui archive --undo {run.id} lists it again")]
    return [*rows, ("takes", f"{size(run.bytes())} in {run.path}")]


def _directories(workspace: Workspace) -> dict[str, Path]:
    return {
        "data": workspace.data,
        "runs": workspace.runs,
        "config": workspace.config,
        "themes": workspace.config / "themes",
        "state": workspace.state,
        "cache": workspace.cache,
        "presets": PRESETS,
    }


@click.command(short_help="Print the paths of runs and directories.")
@click.argument("what", type=NAME, required=False, metavar="[DIRECTORY|RUN]")
def locate(what: str | None) -> None:
    """Print the path of DIRECTORY (data, runs, config, themes, state, cache, presets) or of a run; default: all
    directories.

    LLMTUI_HOME moves data, config, state and cache. User-defined themes go into `themes`.
    """
    workspace = Workspace()
    directories = _directories(workspace)
    if what is None:
        print_output(
            table([(name, str(path)) for name, path in directories.items()])
        )  # one line each: paths are copied
    else:
        print_output(str(directories[what] if what in directories else _run_directory(workspace, what, directories)))


def _run_directory(workspace: Workspace, run_name: str, directories: Iterable[str]) -> Path:
    try:
        return find_run(workspace, run_name).path
    except RunNotFoundError as error:
        hint = did_you_mean(run_name, directories) or error.todo
        what = f"{run_name!r} is neither a directory ({', '.join(directories)}) nor a run"
        raise RunNotFoundError(what, todo=hint) from None
