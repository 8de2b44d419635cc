"""The trials of a study as a table, its first line, and sentences about them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from core.plural import plural
from core.tune.curve_fit import Interval
from core.tune.forecast import Remaining
from core.tune.requests import Request
from core.tune.study import Study
from core.tune.trials import best_trial
from llmtui.view import run_text, units
from llmtui.view.data_table import DataTable, TableColumn, TableRow
from llmtui.view.lines import Line, Span, bar, joined, width, wrap
from llmtui.view.run_snapshot import RunSnapshot
from llmtui.view.sanitize import shown
from llmtui.view.study_snapshot import StudySnapshot
from llmtui.view.study_text import (
    BEST,
    TrialRow,
    interval_text,
    rank,
    rung_text,
    seeds_differ,
    short_names,
    value_text,
    varying_fields,
)

_OUTCOMES = {
    "done": ("✓", "good"),
    "failed": ("✗", "bad"),
    "stopped": ("■", "dim"),
    "lost": ("?", "warn"),
    "unreadable": ("?", "warn"),
    "paused": ("‖", "dim"),
}
"""Glyph and role of the states of trials that have no run to take them from."""


class Order(NamedTuple):
    """How the table is sorted."""

    column: str
    """Name of a column, or a field of the recipe."""
    reverse: bool = False


BY_RESULT = Order("bpb")
"""The best first, then those without a result."""


def state_of(row: TrialRow, run: RunSnapshot | None) -> tuple[str, str, str]:
    """Glyph, word and role of what a trial is doing, or how it ended."""
    if row.trial.ended is None and row.trial.paused is None and run is not None:
        return run_text.state(run)
    glyph, role = _OUTCOMES.get(row.state, ("·", "dim"))
    return glyph, row.state, role


def is_active(row: TrialRow, run: RunSnapshot | None) -> bool:
    """Whether a trial is training, or about to."""
    open_ = row.trial.ended is None and row.trial.paused is None
    return open_ and run is not None and run.state.is_active


_VALUES: dict[str, tuple[str, Callable[[TrialRow], float | None], Callable[[float], str]]] = {
    "bpb": ("bpb", lambda row: row.bits_per_byte, units.cost),
    "time": ("time", lambda row: row.seconds or None, units.duration),
    "params": ("params", lambda row: row.trial.ended.parameters if row.trial.ended else None, units.count),
    "speed": ("tok/s", lambda row: row.trial.ended.tokens_per_second if row.trial.ended else None, units.count),
    "seed": ("seed", lambda row: row.trial.seed, str),
}
"""Figures of a trial: heading, value, text."""


def sort_columns(rows: Sequence[TrialRow]) -> list[tuple[str, str, str]]:
    """Name, heading and description of each column that the table can be sorted by."""
    figures = [
        ("bpb", "bpb", "Validation bits per byte; the best so far of a trial that continues."),
        ("number", "number", "In the order in which they were started."),
        ("time", "time", "Time of training."),
        ("params", "params", "Parameters of the model."),
        ("speed", "tok/s", "Tokens per second."),
    ]
    trials = [row.trial for row in rows]
    figures += [("seed", "seed", "Random seed of the training.")] if seeds_differ(trials) else []
    keys = varying_fields(trials)
    return figures + [(key, name, "A field of the recipe.") for key, name in short_names(keys).items()]


def sorted_rows(rows: Sequence[TrialRow], order: Order) -> list[TrialRow]:
    """The rows in that order, those without a value last; by result those that are done before those at rungs."""
    if order == BY_RESULT:
        return sorted(rows, key=rank)
    if order.column == "number":
        return sorted(rows, key=lambda row: row.trial.number, reverse=order.reverse)

    def value(row: TrialRow) -> object:
        return _VALUES[order.column][1](row) if order.column in _VALUES else row.trial.values.get(order.column)

    known = [row for row in rows if value(row) is not None]
    numeric = all(isinstance(value(row), int | float) for row in known)
    known.sort(key=lambda row: value(row) if numeric else value_text(value(row)), reverse=order.reverse)  # type: ignore[arg-type, return-value]
    return known + [row for row in rows if value(row) is None]


def trials_table(
    rows: Sequence[TrialRow],
    runs: Mapping[str, RunSnapshot],
    forecasts: Mapping[str, Interval],
    order: Order = BY_RESULT,
    waiting: Sequence[Request] = (),
) -> DataTable:
    """Number, state, result, forecast, the fields that differ, and what else is known.

    runs: by id. forecasts: of the results of trials that train, by id of the run. waiting: inserted trials that have
    not started, which come last.
    """
    trials = [row.trial for row in rows]
    best, keys = best_trial(trials), varying_fields(trials)
    keys += [key for key in dict.fromkeys(key for request in waiting for key in request.values) if key not in keys]
    names = short_names(keys)
    figures = [name for name in _VALUES if name == "bpb" or any(_VALUES[name][1](row) for row in rows)]
    if not seeds_differ(trials):
        figures = [name for name in figures if name != "seed"]
    numeric = {key: all(isinstance(t.values.get(key), int | float | None) for t in trials) for key in keys}
    columns = [TableColumn("number", "#"), TableColumn("state", "state", right=False), TableColumn("bpb", "bpb")]
    forecasts = {
        row.trial.run_id: f for row in rows if row.trial.ended is None and (f := forecasts.get(row.trial.run_id))
    }
    columns += [TableColumn("forecast", "forecast")] if forecasts else []
    rungs = [TableColumn("rung", "rung", right=False)] if any(rung_text(trial) for trial in trials) else []
    columns += [TableColumn(key, shown(names[key], 24), right=numeric[key]) for key in keys]
    columns += [*rungs, *(TableColumn(name, _VALUES[name][0]) for name in figures[1:])]
    if waiting or any(trial.origin != "sampled" for trial in trials):
        columns.append(TableColumn("origin", "origin", right=False))
    table_rows: list[TableRow] = []
    for row in sorted_rows(rows, order):
        glyph, word, role = state_of(row, runs.get(row.trial.run_id))
        is_best = row.trial is best
        faded = "" if row.trial.bits_per_byte is not None or is_active(row, runs.get(row.trial.run_id)) else "dim"
        bits = "" if row.bits_per_byte is None else units.cost(row.bits_per_byte)
        cells: list[Span] = [(str(row.trial.number), "dim"), (f"{glyph} {word}", role)]
        cells.append((BEST + bits if is_best else bits, "good" if is_best else faded))
        if forecasts:
            found = forecasts.get(row.trial.run_id)
            cells.append((f"{units.cost(found.value)} ±{(found.high - found.low) / 2:.3f}" if found else "", "accent"))
        cells += [(value_text(row.trial.values.get(key)), faded) for key in keys]
        cells += [(rung_text(row.trial), "dim")] if rungs else []
        for name in figures[1:]:
            value = _VALUES[name][1](row)
            cells.append(("" if value is None else _VALUES[name][2](value), "dim"))
        cells += [(row.trial.origin, "dim")] if columns[-1].name == "origin" else []
        table_rows.append(TableRow(str(row.trial.number), tuple(cells)))
    for place, request in enumerate(waiting, 1):
        texts = {key: (value_text(value), "dim") for key, value in request.values.items()}
        texts |= {"state": (f"◌ waits {place}", "warn"), "origin": (request.origin, "dim")}
        table_rows.append(TableRow(request.id, tuple(texts.get(column.name, ("", "")) for column in columns)))
    return DataTable(columns, table_rows, frozen=3)


def waiting_sentence(waiting: Sequence[Request], key: str) -> str:
    """A sentence about the waiting trial with that id; empty if there is none."""
    place = next((place for place, request in enumerate(waiting) if request.id == key), None)
    if place is None:
        return ""
    values = ", ".join(f"{shown(name, 64)} {value_text(value)}" for name, value in waiting[place].values.items())
    when = f"waits behind {plural(place, 'other')}" if place else "is the next one to start"
    return f"This trial {when}: {values}. K and J change its place, d takes it out."


def explanation(row: TrialRow, rows: Sequence[TrialRow], forecast: Interval | None) -> str:
    """A sentence about a trial. Sanitised."""
    trial, best = row.trial, best_trial([row.trial for row in rows])
    if trial.ended is not None and trial.ended.reason:
        return f"Trial {trial.number} {'failed' if trial.ended.outcome == 'failed' else trial.ended.outcome}: " + shown(
            trial.ended.reason, 400
        )
    values = ", ".join(f"{shown(key, 64)} {value_text(value)}" for key, value in trial.values.items())
    if trial.paused is not None:
        share = f"{100 * trial.paused.share:.0f} % of its training"
        return (
            f"Trial {trial.number} waits after {share}, and is promoted if it is among the best; p does so: {values}."
        )
    if forecast is not None and trial.ended is None:
        return f"Trial {trial.number} ends at about {interval_text(forecast)} (90 %) bits per byte: {values}."
    if trial is best:
        return f"Trial {trial.number} is the best so far: {values}."
    if trial.bits_per_byte is not None and best is not None and best.bits_per_byte is not None:
        worse = trial.bits_per_byte - best.bits_per_byte
        return f"Trial {trial.number}: {worse:.3f} bits per byte worse than the best; {values}."
    return f"Trial {trial.number}: {values}." if values else f"Trial {trial.number}."


# -- the first lines --------------------------------------------------------------------------------------------------

_STATES = {
    "running": ("●", "accent"),
    "paused": ("‖", "warn"),
    "done": ("✓", "good"),
    "stopped": ("■", "dim"),
}


def header_parts(snapshot: StudySnapshot, rows: Sequence[TrialRow], runs: Mapping[str, RunSnapshot]) -> list[Line]:
    """Name, state, best result and counts of a study, the most important first."""
    glyph, role = _STATES[snapshot.state]
    best = best_trial([row.trial for row in rows])
    parts: list[Line] = [
        [("study  ", "title"), (shown(snapshot.name, 64), "title")],
        [(f"{glyph} {snapshot.state}", role)],
    ]
    if best is not None and best.bits_per_byte is not None:
        bits = units.cost(best.bits_per_byte)
        parts.append([("best ", "dim"), (bits, "good"), (f" bpb, trial {best.number}", "dim")])
    counts: dict[tuple[str, str], int] = {}
    for row in sorted(rows, key=lambda row: (row.trial.ended is not None, row.trial.paused is not None)):
        _, word, state_role = state_of(row, runs.get(row.trial.run_id))
        word = word.split()[0]  # without the place in the queue
        counts[word, state_role] = counts.get((word, state_role), 0) + 1
    if snapshot.waiting:
        counts["waiting", "warn"] = len(snapshot.waiting)
    return [*parts, *([(f"{count} {word}", state_role)] for (word, state_role), count in counts.items())]


def state_lines(snapshot: StudySnapshot, rows: Sequence[TrialRow], left: Remaining | None, cells: int) -> list[Line]:
    """What is used of the budget and what remains; then what is wrong with the study, if anything is."""
    if snapshot.study is None:
        return []
    problem = " ".join(shown(snapshot.problem, 600, lines=True).removeprefix("llmtui: ").split())
    warning: list[Line] = [[(part, "warn")] for part in wrap(f"✗ {problem}", cells)] if problem else []
    return [_budget_line(snapshot.study, rows, left, cells), *warning]


def _budget_line(study: Study, rows: Sequence[TrialRow], left: Remaining | None, cells: int) -> Line:
    settings = study.file
    sampled = sum(row.trial.origin == "sampled" for row in rows)
    minutes = sum(row.seconds for row in rows) / 60
    parts: list[str] = []
    shares: list[float] = []
    if settings.trials is not None:
        parts.append(f"{sampled} of {plural(settings.trials, 'trial')}")
        shares.append(sum(row.trial.ended is not None for row in rows) / settings.trials)
    if settings.minutes is not None:
        parts.append(f"{units.duration(60 * minutes)} of {units.duration(60 * settings.minutes)}")
        shares.append(minutes / settings.minutes)
    else:
        parts.append(f"{units.duration(60 * minutes)} of training")
    how = f"{settings.sampler}, {settings.parallel} at once" if settings.parallel > 1 else settings.sampler
    line: list[Line] = [[("  ".join(parts), "")]]
    if left is not None and left.trials:
        line.append([(f"about {units.duration(left.wall_seconds)} left", "accent")])
    line.append([(how, "dim")])
    meter = [*bar(max(shares), 16), ("  ", "")] if shares and cells > 60 else []
    return [*meter, *joined(line, cells - width(meter))]
