"""The columns of the list of runs, by which it is also sorted and filtered: figures, and fields of the recipe."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

from core.events import Evaluation
from core.recipe.fields import Field, fields
from core.run_names import name_of_run
from core.runs.directory import RunState
from llmtui.view import run_text, units
from llmtui.view.run_snapshot import RunSnapshot
from llmtui.view.sanitize import shown

Value = float | tuple[str, ...] | None
"""A number, texts, or None if the run has none."""

Kind = Literal["number", "bytes", "seconds", "percent", "text"]


class Column(NamedTuple):
    """One column."""

    name: str
    """What filters and settings call it."""
    heading: str
    cells: int
    description: str
    kind: Kind
    value: Callable[[RunSnapshot], Value]
    text: Callable[[RunSnapshot], str]
    """At most `cells` cells, or else it is cut; sanitised."""
    labelled: str = "{}"
    """Format of the text in a list without headings."""
    largest_first: bool = False
    """Sorted so unless reversed."""
    role: str = ""
    measured: bool = False
    """Whether it needs `llmtui.view.run_snapshot.measure`."""

    def width(self, labelled: bool) -> int:
        """Cells it takes, with or without the label."""
        return self.cells + len(self.labelled) - 2 if labelled else self.cells

    @property
    def right(self) -> bool:
        """Whether it is aligned to the right."""
        return self.kind != "text"


def _step(snapshot: RunSnapshot) -> str:
    metric, total = snapshot.summary.metric, snapshot.run.recipe.train.steps
    if metric is None:
        return ""
    text = f"{metric.step:,}/{total:,}" if total else f"{metric.step:,}"
    return text if len(text) <= 13 else text.replace(f"{metric.step:,}", units.count(metric.step), 1)


def _share(snapshot: RunSnapshot) -> float | None:
    if snapshot.state is RunState.DONE:
        return 100.0
    share = run_text.share(snapshot.summary) if snapshot.state.is_active else _trained_share(snapshot)
    return None if share is None else 100 * share


def _trained_share(snapshot: RunSnapshot) -> float | None:
    metric = snapshot.summary.metric
    return max(0.0, min(1.0, metric.progress)) if metric else None


def _val(snapshot: RunSnapshot) -> float | None:
    return snapshot.summary.evaluation.bits_per_byte if snapshot.summary.evaluation else None


def _best(snapshot: RunSnapshot) -> float | None:
    return snapshot.summary.best.bits_per_byte if snapshot.summary.best else None


def _bits(evaluation: Evaluation | None) -> str:
    return run_text.bits(evaluation) if evaluation else ""


def _age(snapshot: RunSnapshot) -> float:
    return max(0.0, time.time() - snapshot.run.made_at)


def _speed(snapshot: RunSnapshot) -> float | None:
    return snapshot.summary.tokens_per_second or None if run_text.speed(snapshot) else None


def _left(snapshot: RunSnapshot) -> float | None:
    works = snapshot.state is RunState.RUNNING and not snapshot.stall
    return run_text.seconds_left(snapshot.summary) if works else None


def _ended(snapshot: RunSnapshot) -> float | None:
    return max(0.0, time.time() - snapshot.over_at) if snapshot.over_at else None


def _parameters(snapshot: RunSnapshot) -> float | None:
    return snapshot.summary.shape.parameters if snapshot.summary.shape else None


def _study(snapshot: RunSnapshot) -> tuple[str, ...]:
    """Name and id of the study of a trial."""
    trial = snapshot.run.file.study
    return (name_of_run(trial.id), trial.id) if trial else ()


def _tokens(snapshot: RunSnapshot) -> float | None:
    return snapshot.summary.metric.tokens if snapshot.summary.metric else None


def _formatted(
    value: Callable[[RunSnapshot], float | None], form: Callable[[float], str]
) -> Callable[[RunSnapshot], str]:
    def text(snapshot: RunSnapshot) -> str:
        number = value(snapshot)
        return "" if number is None else form(number)

    return text


def age_text(seconds: float) -> str:
    """An age in its largest unit, so that it rarely changes: `5m`, `3h`, `12d`; `<1m`."""
    for length, unit in ((86400, "d"), (3600, "h"), (60, "m")):
        if seconds >= length:
            return f"{seconds / length:.0f}{unit}" if seconds < 1e10 else "–"
    return "<1m"


def _state_words(snapshot: RunSnapshot) -> tuple[str, ...]:
    return run_text.state(snapshot)[1], snapshot.state.value


COLUMNS = {
    column.name: column
    for column in (
        Column(
            "name", "name", 24, "Name of the run.", "text", lambda s: (s.run.name,), run_text.name
        ),
        Column(
            "state", "state", 11, "What it is doing, or how it ended.", "text", _state_words,
            lambda s: run_text.state(s)[1],
        ),
        Column(
            "step", "step", 13, "Training step, and the last one.", "number",
            lambda s: s.summary.metric.step if s.summary.metric else None, _step, "step {}", True,
        ),
        Column(
            "done", "done", 7, "Completed share.", "percent", _share, _formatted(_share, lambda v: f"{v:.1f} %"),
            largest_first=True,
        ),
        Column(
            "val", "val bpb", 8, "Validation loss in bits per byte.", "number", _val,
            lambda s: _bits(s.summary.evaluation), "{} bpb",
        ),
        Column(
            "best", "best bpb", 9, "Best validation loss in bits per byte.", "number", _best,
            lambda s: _bits(s.summary.best), "best {} bpb",
        ),
        Column(
            "loss", "train bpb", 10, "Training loss, smoothed, in bits per byte.", "number", lambda s: s.train_loss,
            _formatted(lambda s: s.train_loss, units.cost), "train {}", measured=True,
        ),
        Column(
            "left", "left", 7, "Estimated time until the stage is done.", "seconds", _left,
            lambda s: run_text.remaining(s.summary).removesuffix(" left") if _left(s) is not None else "", "{} left",
        ),
        Column("age", "age", 4, "Time since it was created.", "seconds", _age, _formatted(_age, age_text), role="dim"),
        Column(
            "ended", "ended", 12, "When it ended; filters compare the time since then.", "seconds", _ended,
            lambda s: units.clock(s.over_at) if s.over_at else "", role="dim",
        ),
        Column(
            "speed", "speed", 11, "Tokens per second.", "number", _speed, run_text.speed, largest_first=True,
        ),
        Column(
            "tags", "tags", 16, "Tags.", "text", lambda s: s.annotations.tags,
            lambda s: shown(" ".join(s.annotations.tags)),
        ),
        Column(
            "size", "size", 8, "Size on disk.", "bytes", lambda s: s.size,
            _formatted(lambda s: s.size, units.size), largest_first=True, measured=True,
        ),
        Column(
            "params", "params", 7, "Parameters of the model.", "number", _parameters,
            _formatted(_parameters, units.count), "{} params", True,
        ),
        Column(
            "tokens", "tokens", 7, "Tokens trained on.", "number", _tokens, _formatted(_tokens, units.count),
            "{} tok", True,
        ),
        Column(
            "study", "study", 20, "Study that the run is a trial of.", "text", _study,
            lambda s: shown(_study(s)[0]) if _study(s) else "",
        ),
        Column(
            "note", "note", 32, "The note on the run.", "text",
            lambda s: (s.annotations.note,) if s.annotations.note else None,
            lambda s: shown(" ".join(s.annotations.note.split()), 200),
        ),
    )
}  # fmt: skip
"""The figures; a field of the recipe is a column, too: see `find_column`."""

ALIASES = {"bpb": "val", "train": "loss", "tag": "tags", "parameters": "params", "progress": "done", "notes": "note"}
"""Further names of columns."""

GAP = 2
"""Cells between columns."""

DEFAULT = ("state", "val", "step", "left", "age", "loss", "speed", "tags", "size", "params", "done", "note")
"""The columns at the first start, the most important first: as many are shown as fit."""


def column_names() -> list[str]:
    """The names of all columns: figures, then fields of the recipe by their dotted names."""
    return [*COLUMNS, *_recipe_fields()]


def all_columns() -> list[Column]:
    """All columns, figures first."""
    return [column for name in column_names() if (column := find_column(name))]


def find_column(name: str) -> Column | None:
    """The column of that name, alias or dotted name of a recipe field; None if there is none."""
    name = ALIASES.get(name, name)
    return COLUMNS.get(name) or _field_column(name)


def short_names(name: str) -> list[str]:
    """The dotted names of the recipe fields that are called `name` in their section: `lr` is train.lr."""
    return [key for key, field in _recipe_fields().items() if field.section and field.name == name]


@functools.cache
def _recipe_fields() -> dict[str, Field]:
    return {field.key: field for field in fields() if field.section}


@functools.cache
def _field_column(key: str) -> Column | None:
    field = _recipe_fields().get(key)
    if field is None:
        return None

    def value(snapshot: RunSnapshot) -> Value:
        return _recipe_value(getattr(getattr(snapshot.run.recipe, field.section), field.name))

    def text(snapshot: RunSnapshot) -> str:
        found = value(snapshot)
        return "" if found is None else f"{found:g}" if isinstance(found, float) else shown(", ".join(found), 200)

    numeric = field.allowed.startswith(("a number", "a whole number"))
    cells = max(len(field.name) + 1, 8 if numeric else 16)
    return Column(
        key, field.name, cells, field.description, "number" if numeric else "text", value, text,
        field.name + " {}",
    )  # fmt: skip


def _recipe_value(value: Any) -> Value:
    match value:
        case None:
            return None
        case bool():
            return (str(value).lower(),)
        case int() | float():
            return float(value)
        case str():
            return (value,)
        case tuple():
            return tuple(str(item) for item in value)
    return (str(value),)


def sorted_runs(snapshots: Sequence[RunSnapshot], name: str, reverse: bool = False) -> list[RunSnapshot]:
    """The runs, newest first as given, sorted by the column `name`; those without a value last. "": as given."""
    column = find_column(name) if name else None
    if column is None:
        return list(snapshots)[::-1] if reverse else list(snapshots)
    with_value = [(value, snapshot) for snapshot in snapshots if (value := column.value(snapshot)) not in (None, ())]
    without = [snapshot for snapshot in snapshots if column.value(snapshot) in (None, ())]
    with_value.sort(key=lambda pair: pair[0], reverse=column.largest_first != reverse)
    return [snapshot for _, snapshot in with_value] + without


def fitting(columns: Sequence[Column], cells: int, *, labelled: bool) -> list[Column]:
    """The columns that fit into `cells` cells with a gap before each, the first of them first.

    labelled: each figure has its label beside it instead of a heading above it.
    """
    kept: list[Column] = []
    for column in columns:
        need = GAP + column.width(labelled)
        if need <= cells:
            kept.append(column)
            cells -= need
    return kept
