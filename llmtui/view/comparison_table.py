"""The table of a comparison: a row for each run, or for those that differ only in the seed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from core.recipe.fields import Field
from core.recipe.overrides import toml_value, value_of
from llmtui.view import run_text
from llmtui.view.comparison import Comparison, RunGroup
from llmtui.view.data_table import DataTable, TableColumn, TableRow
from llmtui.view.lines import Span
from llmtui.view.run_results import RESULTS, Result
from llmtui.view.sanitize import shown

BEST = "★"
"""Before the best value of a column."""

WITHIN = "≈"
"""After a difference that is within the spread of seeds."""

COLORS = 6
"""Colours of runs; beyond them they repeat, and each run has a glyph of its own."""


class CursorColumn(NamedTuple):
    """A column with the values at the cursor of a chart."""

    heading: str
    texts: Mapping[str, str]
    """By key of a group, or of one of its runs."""


def color_role(number: int) -> str:
    """The role of the run with that number, see `llmtui.tui.widgets.pane.ROLES`."""
    return f"run-{(number - 1) % COLORS + 1}"


def sort_columns(comparison: Comparison) -> list[tuple[str, str, str]]:
    """Name, heading and description of each column that the table can be sorted by."""
    found = [(result.name, result.heading, result.description) for result in RESULTS.values()]
    return found + [(field.key, _heading(comparison, field), field.description) for field in comparison.fields]


def comparison_table(
    comparison: Comparison, expanded: frozenset[str] = frozenset(), cursor: CursorColumn | None = None
) -> DataTable:
    """Number, name, the column it is sorted by, differences, fields of the recipe, results, state.

    expanded: keys of groups whose runs have rows, too.
    """
    columns = [TableColumn("number", "#", right=False), TableColumn("name", "run", right=False)]
    columns += [TableColumn("cursor", cursor.heading)] if cursor else []
    first = dict.fromkeys([comparison.sort, comparison.measure.name])
    columns += [_column(comparison, name) for name in first]
    columns.append(TableColumn("difference", f"vs {comparison.baseline.glyph}"))
    if any(len(group.runs) > 1 for group in comparison.groups):
        columns.append(TableColumn("spread", "spread"))
    rest = [name for name in (*(field.key for field in comparison.fields), *RESULTS) if name not in first]
    columns += [_column(comparison, name) for name in rest]
    columns.append(TableColumn("state", "state", right=False))
    cells = _Cells(comparison, expanded, cursor)
    rows: list[TableRow] = []
    for group in comparison.groups:
        rows.append(TableRow(group.key, tuple(cells.of_group(group, column.name) for column in columns)))
        if group.key in expanded and len(group.runs) > 1:
            for run in group.runs:
                alone = comparison.alone(run)
                rows.append(TableRow(alone.key, tuple(cells.of_member(alone, column.name) for column in columns)))
    return DataTable(columns, rows, frozen=4 if cursor else 3)


def _column(comparison: Comparison, name: str) -> TableColumn:
    if name in RESULTS:
        return TableColumn(name, RESULTS[name].heading)
    field = _field(comparison, name)
    numeric = field.allowed.startswith(("a number", "a whole number"))
    return TableColumn(name, _heading(comparison, field), right=numeric)


def _field(comparison: Comparison, key: str) -> Field:
    return next(field for field in comparison.fields if field.key == key)


def _heading(comparison: Comparison, field: Field) -> str:
    twice = sum(other.name == field.name for other in comparison.fields) > 1
    return field.key if twice else field.name


class _Cells:
    """The cells of one table."""

    def __init__(self, comparison: Comparison, expanded: frozenset[str], cursor: CursorColumn | None) -> None:
        self._comparison, self._expanded, self._cursor = comparison, expanded, cursor
        best = {name: comparison.best(result) for name, result in RESULTS.items()}
        self._best = {name: group.key for name, group in best.items() if group}

    def of_member(self, alone: RunGroup, column: str) -> Span:
        """A cell of a run of an expanded group."""
        if column == "name":
            return f"  {alone.name}", "dim"
        if column == "number":
            return alone.glyph, color_role(alone.number)
        if column in ("difference", "spread"):
            return "", ""
        return self.of_group(alone, column)[0].removeprefix(BEST), "dim"

    def of_group(self, group: RunGroup, column: str) -> Span:
        match column:
            case "number":
                return group.glyph, color_role(group.number)
            case "name":
                opened = "▾" if group.key in self._expanded else "▸"
                return (f"{opened} {group.name} ×{len(group.runs)}" if len(group.runs) > 1 else group.name), "bold"
            case "cursor":
                return (self._cursor.texts.get(group.key, "") if self._cursor else ""), ""
            case "difference":
                return self._difference(group)
            case "spread":
                measure = self._comparison.measure
                spread = group.spread(measure)
                known = spread is not None and spread.n > 1
                return (f"{measure.text(spread.width)} of {spread.n}" if spread and known else ""), ""
            case "state":
                states = {run_text.state(run.snapshot) for run in group.runs}
                glyph, word, role = next(iter(states))
                return (f"{glyph} {word}", role) if len(states) == 1 else ("various", "dim")
        if column in RESULTS:
            return self._result(group, RESULTS[column])
        field = _field(self._comparison, column)
        values = [field_text(value_of(run.snapshot.run.recipe, field)) for run in group.runs]
        return shown(" ".join(dict.fromkeys(values)), 200), ""

    def _difference(self, group: RunGroup) -> Span:
        comparison = self._comparison
        if group.key == comparison.baseline.key:
            return "baseline", "dim"
        found = comparison.difference(group)
        one, other = group.spread(comparison.measure), comparison.baseline.spread(comparison.measure)
        if found is None or one is None or other is None:
            return "", ""
        return comparison.measure.change(one.mean, other.mean) + (f" {WITHIN}" if found.within else ""), ""

    def _result(self, group: RunGroup, result: Result) -> Span:
        spread = group.spread(result)
        if spread is None:
            return "–", "dim"
        text = ("≤" if group.bound and result.is_loss else "") + result.text(spread.mean)
        return (f"{BEST}{text}", "good") if self._best.get(result.name) == group.key else (text, "")


def field_text(value: object) -> str:
    """A value of the recipe, without the quotes of TOML. Not sanitised."""
    if isinstance(value, str):
        return value
    return ", ".join(map(field_text, value)) if isinstance(value, tuple) else toml_value(value)
