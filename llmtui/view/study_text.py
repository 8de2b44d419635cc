"""A study as text: its state, and its trials as rows of a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import msgspec

from core.plural import plural
from core.runs.directory import UNREADABLE, RunState
from core.runs.summary import Summary
from core.storage.workspace import Workspace
from core.tune.curve_fit import Interval
from core.tune.forecast import Remaining
from core.tune.front import front, second_value
from core.tune.repeats import Lead
from core.tune.slices import Improvement, Slice, SliceGroup
from core.tune.start import open_trial
from core.tune.study import Study
from core.tune.study_file import SecondObjective
from core.tune.trials import Trial, best_trial
from llmtui.view import units
from llmtui.view.sanitize import shown

BEST, HIGHLIGHTED = "★", "◇"
"""Stand for the best trial and for the highlighted one."""


class TrialRow(NamedTuple):
    """A trial with what its run is doing."""

    trial: Trial
    state: str
    """done, failed, running, paused, …"""
    bits_per_byte: float | None
    """Of a trial that has not ended, the best so far; of one that waits at a rung, its result there."""
    seconds: float
    """Of training."""


def trial_rows(study: Study, workspace: Workspace) -> list[TrialRow]:
    """The trials with the states of their runs, by number."""
    return [_row(trial, workspace) for trial in study.trials()]


def _row(trial: Trial, workspace: Workspace) -> TrialRow:
    run = None if trial.ended or trial.paused else open_trial(trial, workspace)  # hundreds may wait
    return row_of(trial, run.state() if run else None, run.summary() if run else None)


def row_of(trial: Trial, state: RunState | None, summary: Summary | None) -> TrialRow:
    """A trial with state and summary of its run; None where that cannot be read."""
    if trial.ended is not None:
        return TrialRow(trial, trial.ended.outcome, trial.bits_per_byte, trial.ended.seconds)
    if trial.paused is not None:
        return TrialRow(trial, "paused", trial.paused.bits_per_byte, trial.paused.seconds)
    if state is None or summary is None:
        return TrialRow(trial, UNREADABLE, None, 0.0)
    best = summary.headline_evaluation
    word = summary.stage if state is RunState.RUNNING and summary.stage else state.value
    if state is RunState.STOPPED and summary.waiting_rung:  # its controller has not recorded it yet
        word = "paused"
    seconds = summary.metric.seconds if summary.metric else 0.0
    return TrialRow(trial, word, best.bits_per_byte if best else None, seconds)


StudyState = Literal["running", "paused", "done", "stopped"]


def study_state(study: Study) -> StudyState:
    """What it is doing, or how it ended."""
    if study.controller() is not None:
        return "paused" if study.pause_requested else "running"
    return "done" if study.is_done() else "stopped"


def counts_text(rows: Sequence[TrialRow]) -> str:
    """How many trials are in which state: "7 done, 1 failed, 1 train"."""
    states = [row.state for row in rows]
    counts = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))
    return f"{plural(len(rows), 'trial')}: {counts}" if rows else "no trial yet"


def rung_text(trial: Trial) -> str:
    """The rung at which a trial waits, or from which to which it trains: "11 %", "11 → 33 %"; empty without rungs."""
    if trial.paused:
        return f"{100 * trial.paused.share:.0f} %"
    if trial.ended or (not trial.rungs and trial.stop_at == 1):
        return ""
    start = trial.rungs[-1].share if trial.rungs else 0.0
    return f"{100 * start:.0f} → {100 * trial.stop_at:.0f} %"


def varying_fields(trials: Sequence[Trial]) -> list[str]:
    """The fields whose values are not the same in all trials; of a single trial, all."""
    keys = list(dict.fromkeys(key for trial in trials for key in trial.values))
    if len(trials) < 2:
        return keys
    return [key for key in keys if len({msgspec.json.encode(trial.values.get(key)) for trial in trials}) > 1]


def seeds_differ(trials: Sequence[Trial]) -> bool:
    """Whether a table says which seed a trial has."""
    return len({trial.seed for trial in trials}) > 1


def value_text(value: Any) -> str:
    """A value of a field."""
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:.4g}"
    return shown(value if isinstance(value, str) else msgspec.json.encode(value).decode(), 40)


def values_text(values: Mapping[str, Any]) -> str:
    """The values of a trial on one line: `train.lr 0.003, model.n_layer 4`."""
    return ", ".join(f"{key} {value_text(value)}" for key, value in values.items())


def trials_table(rows: Sequence[TrialRow], second: SecondObjective | None = None) -> list[tuple[str, ...]]:
    """Heading and rows of a table, the best trial first, then those at rungs, then the others by number.

    The best trial has a star; with a `second` objective, which has a column, all of the front.
    """
    trials = [row.trial for row in rows]
    starred = [each.number for each in (front(trials, second) if second else [best_trial(trials)]) if each]
    keys = varying_fields([row.trial for row in rows])
    names = short_names(keys)
    rung = ("RUNG",) if any(rung_text(row.trial) for row in rows) else ()
    column = (SECOND_HEADINGS[second],) if second else ()
    seed = ("SEED",) if seeds_differ(trials) else ()
    table: list[tuple[str, ...]] = [
        ("TRIAL", "STATE", *rung, "BPB", *column, "TIME", *seed, *(names[key] for key in keys), "WHY")
    ]
    for row in sorted(rows, key=rank):
        mark = "*" if row.trial.number in starred else ""
        bits = "" if row.bits_per_byte is None else units.cost(row.bits_per_byte)
        values = (value_text(row.trial.values.get(key)) for key in keys)
        why = shown(row.trial.ended.reason, 200) if row.trial.ended else ""
        time = units.duration(row.seconds) if row.seconds else ""
        where = (rung_text(row.trial),) if rung else ()
        of_seed = (str(row.trial.seed),) if seed else ()
        other = (objective_text(row.trial, second),) if second else ()
        table.append((f"{row.trial.number}{mark}", row.state, *where, bits, *other, time, *of_seed, *values, why))
    return table


def rank(row: TrialRow) -> tuple[float, float]:
    """Those that are done by their results, then those at rungs, the highest first, then the others."""
    if row.trial.bits_per_byte is not None:
        return -2.0, row.trial.bits_per_byte
    rung = row.trial.rungs[-1] if row.trial.rungs and row.trial.ended is None else None
    return (-rung.share, rung.bits_per_byte) if rung else (0.0, 0.0)


def short_names(keys: Sequence[str]) -> dict[str, str]:
    """Fields without their section where that is unambiguous."""
    last = [key.rpartition(".")[2] for key in keys]
    return {key: name if last.count(name) == 1 else key for key, name in zip(keys, last, strict=True)}


def objective_text(trial: Trial, objective: SecondObjective) -> str:
    """The second objective of a trial; empty before it is done."""
    value = second_value(trial, objective)
    return "" if value is None else units.count(abs(value))


SECOND_HEADINGS: dict[SecondObjective, str] = {"tokens_per_second": "TOK/S", "parameters": "PARAMETERS"}


def front_table(members: Sequence[Trial], objective: SecondObjective) -> list[tuple[str, ...]]:
    """Heading and rows of a table: the front of a study with two objectives."""
    keys = varying_fields(members)
    names = short_names(keys)
    table: list[tuple[str, ...]] = [("FRONT", "BPB", SECOND_HEADINGS[objective], *(names[key] for key in keys))]
    for trial in members:
        values = (value_text(trial.values.get(key)) for key in keys)
        table.append(
            (str(trial.number), units.cost(trial.bits_per_byte or 0.0), objective_text(trial, objective), *values)
        )
    return table


def share_text(share: float) -> str:
    """Where results were measured: ` at 11 %` of the training; empty: at the end."""
    return "" if share == 1 else f" at {100 * share:.0f} %"


def slice_table(found: Slice) -> list[tuple[str, ...]]:
    """Heading and rows of a table: the results by the values of one field."""
    where = share_text(found.share).upper()
    table: list[tuple[str, ...]] = [(found.key, "TRIALS", f"BEST BPB{where}", "MEDIAN")]
    for group in found.groups:
        table.append((_group_text(group), str(group.n), units.cost(group.best), units.cost(group.median)))
    return table


def _group_text(group: SliceGroup) -> str:
    low, high = value_text(group.low), value_text(group.high)
    return low if low == high else f"{low} … {high}"


def improvements_table(found: Sequence[Improvement], share: float = 1.0) -> list[tuple[str, ...]]:
    """Heading and rows of a table: the best result so far over time. share: of the training, where it was measured."""
    table: list[tuple[str, ...]] = [(f"BEST SO FAR{share_text(share).upper()}", "TRIAL", "OF TRIALS", "TRAINING")]
    for one in found:
        time = units.duration(one.training_seconds)
        table.append((units.cost(one.bits_per_byte), str(one.number), str(one.trials), time))
    return table


def interval_text(interval: Interval) -> str:
    """A predicted loss with its interval: `1.462 (1.440 – 1.481)`."""
    return f"{units.cost(interval.value)} ({units.cost(interval.low)} – {units.cost(interval.high)})"


def count_interval(interval: Interval) -> str:
    """A predicted count with its interval: `1.20M (900k – 1.60M)`."""
    return f"{units.count(interval.value)} ({units.count(interval.low)} – {units.count(interval.high)})"


def bracket_table(trials: Sequence[Trial], field: str) -> list[tuple[str, ...]]:
    """Heading and rows of a table: the results of some learning rates, the lowest rate first."""
    best = best_trial(trials)
    rows: list[tuple[str, ...]] = [(field, "BPB", "WHY")]
    for trial in sorted(trials, key=lambda trial: float(trial.values[field])):
        bits = "" if trial.bits_per_byte is None else units.cost(trial.bits_per_byte)
        why = shown(trial.ended.reason, 200) if trial.ended else ""
        rows.append((value_text(trial.values[field]) + ("*" if trial is best else ""), bits, why))
    return rows


def bracket_text(trials: Sequence[Trial], field: str) -> str:
    """The chosen learning rate, and whether a still higher or lower one may be better; of at least one result."""
    best = best_trial(trials)
    assert best is not None
    rates = sorted(float(trial.values[field]) for trial in trials)
    chosen = float(best.values[field])
    text = f"the best of {len(trials)}: --set {field}={value_text(chosen)}"
    if chosen in (rates[0], rates[-1]):
        text += f"; it is the {'lowest' if chosen == rates[0] else 'highest'}: try again from there"
    return text


def remaining_text(left: Remaining) -> str:
    """Time and cost of what is left of a study: `12 trials, about 8m20s of training, done in about 9m10s`."""
    if not left.trials:
        return "no trial is left"
    flops = f" ({units.flops(left.flops)} FLOPs)" if left.flops is not None else ""
    return (
        f"{plural(left.trials, 'trial')} left, about {units.duration(left.training_seconds)} of training{flops}, "
        f"done in about {units.duration(left.wall_seconds)}"
    )


def lead_text(found: Lead) -> str:
    """The best result over its seeds, and whether it is ahead of the next one by more than another seed changes."""
    spread = found.best.spread
    text = f"best: {units.cost(spread.mean)} bits per byte"
    if spread.n > 1:
        text += f", the mean of {plural(spread.n, 'seed')}, spread {spread.width:.3f}"
    if found.second is None:
        return text
    text += f"; the next, trial {found.second.trials[0].number}, is {found.difference:.3f} worse"
    if found.noise is None:
        number = found.best.trials[0].number
        return f"{text}; what another seed changes is not known: llmtui tune clone {number} tries one"
    if found.is_noise:
        return f"{text}: a difference smaller than the noise, {found.noise:.3f} over seeds"
    return f"{text}, more than the noise, {found.noise:.3f} over seeds"
