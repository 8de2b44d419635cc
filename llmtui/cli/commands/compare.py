"""`llmtui compare`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import click
import msgspec

from core.errors import UsageError
from core.recipe.overrides import value_of
from core.runs.directory import Run
from core.runs.lookup import all_runs, find_run
from core.runs.origin import Origin, origin_differences, origin_of
from core.storage.workspace import Workspace
from llmtui.cli.commands.options import NAME, json_option, run_argument
from llmtui.cli.console import columns, print_json, print_message, print_output, print_table
from llmtui.view.comparison import MAX_RUNS, ComparedRun, Comparison, RunGroup
from llmtui.view.run_filter import EXAMPLE, checked_filter
from llmtui.view.run_results import RESULTS
from llmtui.view.run_snapshot import RunSnapshot, measure, take_snapshot

SMOOTHING = 0.9
"""Of the training losses."""


class ComparisonError(UsageError):
    doing = "compare"


@click.command(short_help="Compare runs: recipes, results, seeds, code and data.")
@run_argument(nargs=-1)
@click.option("--filter", "filter_text", type=NAME, metavar="TERMS", help=f"The runs that match, such as '{EXAMPLE}'.")
@click.option(
    "--baseline", type=NAME, metavar="RUN", help="The run to which differences are given; default: the first."
)
@click.option("--sort", type=NAME, metavar="COLUMN", default="best", show_default=True, help="A result, or a field.")
@json_option
def compare(run_name: tuple[str, ...], filter_text: str | None, baseline: str | None, sort: str, as_json: bool) -> None:
    """Compare each RUN: the fields of their recipes that differ, their results, and the differences to a baseline.

    Runs that differ only in train.seed are one row, with the mean of their results; differences that are not larger
    than their spread, from the lowest to the highest, are marked ≈ and said to be within it.
    """
    workspace = Workspace()
    runs = _chosen(workspace, run_name, filter_text)
    first = find_run(workspace, baseline, runs).id if baseline else ""
    numbered = enumerate(map(_with_results, runs), 1)
    compared = [ComparedRun(number, snapshot, _origin(snapshot)) for number, snapshot in numbered]
    comparison = Comparison(compared, baseline=first, sort=sort)
    if sort != comparison.sort:
        known = [*RESULTS, *(field.key for field in comparison.fields)]
        raise ComparisonError(f"there is no column {sort!r} to sort by", todo=f"choose from: {', '.join(known)}")
    if as_json:
        print_json(_record(comparison))
    else:
        _print(comparison)


def _chosen(workspace: Workspace, names: Sequence[str], filter_text: str | None) -> list[Run]:
    """The runs named or matched, each once. Raises RunNotFoundError, ComparisonError."""
    runs = {run.id: run for run in (find_run(workspace, name) for name in names)}
    if filter_text:
        terms = checked_filter(filter_text)
        for snapshot in map(_with_results, reversed(all_runs(workspace))):
            if terms.matches(snapshot):
                runs.setdefault(snapshot.run.id, snapshot.run)
    if len(runs) < 2:
        todo = "name two or more, or --filter 'tag:baseline'; llmtui ls lists them"
        raise ComparisonError(f"that takes two runs, and there is {len(runs) or 'none'}", todo=todo)
    if len(runs) > MAX_RUNS:
        raise ComparisonError(f"{len(runs)} runs are too many", todo=f"choose at most {MAX_RUNS}")
    return list(runs.values())


def _with_results(run: Run) -> RunSnapshot:
    return take_snapshot(run).with_measurement(measure(run, SMOOTHING))


def _origin(snapshot: RunSnapshot) -> Origin:
    return origin_of(snapshot.run, snapshot.summary, snapshot.run.curves().newest())


def _print(comparison: Comparison) -> None:
    from llmtui.view.comparison_table import comparison_table  # imports rich, which `llmtui --help` does without
    from llmtui.view.comparison_text import other_differences, verdict

    table = comparison_table(comparison)
    fitting = table.shown(0, columns()) if sys.stdout.isatty() else range(len(table.columns))
    headings = [column.heading.upper() for column in table.columns]
    rows = [tuple(row.cells[index][0] for index in fitting) for row in table.rows]
    print_table([tuple(headings[index] for index in fitting), *rows])
    left_out = [column.heading for index, column in enumerate(table.columns) if index not in fitting]
    if left_out:
        print_message(f"not shown, for lack of space: {', '.join(left_out)}")
    print_output("")
    for group in comparison.groups:
        print_output(verdict(comparison, group), indent=4)
    for what, text in other_differences(comparison):
        print_output(f"{what}: {text}", indent=4)


def _record(comparison: Comparison) -> dict[str, Any]:
    """The comparison for `--json`; times in seconds, losses in bits per byte."""
    ids = [run.snapshot.run.id for run in comparison.runs]
    return {
        "baseline": [run.snapshot.run.id for run in comparison.baseline.runs],
        "measure": comparison.measure.name,
        "groups": [_group_record(comparison, group) for group in comparison.groups],
        "differences": {
            found.what: dict(zip(ids, found.values, strict=True))
            for found in origin_differences([run.origin for run in comparison.runs])
        },
    }


def _group_record(comparison: Comparison, group: RunGroup) -> dict[str, Any]:
    from llmtui.view.comparison_text import verdict  # imports rich, which `llmtui --help` does without

    found = comparison.difference(group)
    return {
        "name": group.name,
        "results": {
            name: spread._asdict() if (spread := group.spread(result)) else None for name, result in RESULTS.items()
        },
        "difference": found and found.value,
        "within_spread": found.within if found and found.spread else None,
        "verdict": verdict(comparison, group),
        "runs": [
            {
                "id": run.snapshot.run.id,
                "name": run.snapshot.run.name,
                "state": run.snapshot.state.value,
                "recipe": {
                    field.key: msgspec.to_builtins(value_of(run.snapshot.run.recipe, field), str_keys=True)
                    for field in comparison.fields
                },
                "results": {name: result.value(run.snapshot) for name, result in RESULTS.items()},
            }
            for run in group.runs
        ],
    }
