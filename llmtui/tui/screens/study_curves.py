"""The curves of the trials of a study."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

from core.tune.trials import best_trial
from llmtui.tui.chart_table import ChartEntry
from llmtui.tui.widgets.curve import Curve
from llmtui.view.history import History
from llmtui.view.run_snapshot import RunSnapshot
from llmtui.view.step_axis import XKind
from llmtui.view.study_table import is_active
from llmtui.view.study_text import BEST, HIGHLIGHTED, TrialRow

MAX_CURVES = 40
"""Trials whose curves are read and drawn: forty with a thousand buckets each take 26 MB."""

Losses = Literal["training", "validation"]


class TrialCurveSettings(NamedTuple):
    """What the curves depend on besides the trials."""

    losses: Losses
    smoothing: float
    x_kind: XKind
    highlighted: int
    """Number of a trial; 0: none."""


def charted_trials(rows: Sequence[TrialRow], runs: Mapping[str, RunSnapshot]) -> list[TrialRow]:
    """The trials whose curves are drawn, if they have begun to train: those that are active, the best ones, and then
    the newest others."""
    trained = [row for row in rows if (run := runs.get(row.trial.run_id)) and run.summary.metric]
    trained.sort(
        key=lambda row: (
            not is_active(row, runs.get(row.trial.run_id)),
            row.bits_per_byte is None,
            row.bits_per_byte or 0.0,
            -row.trial.number,
        )
    )
    return trained[:MAX_CURVES]


def trial_curves(
    entry: ChartEntry, rows: Sequence[TrialRow], histories: Mapping[str, History], settings: TrialCurveSettings
) -> list[Curve]:
    """A curve for each of `rows` that has a history, by run id.

    Trials that wait at a rung, or did not end well, are dim; the best one and the highlighted one are drawn last, over
    the others.
    """
    best = best_trial([row.trial for row in rows])
    curve = entry.curves[settings.losses == "validation"]
    smoothing = settings.smoothing if curve.smoothing is None else 0.0
    found: list[tuple[int, Curve]] = []
    for row in rows:
        history = histories.get(row.trial.run_id)
        if history is None:
            continue
        trains = row.trial.ended is None and row.trial.paused is None
        counts = trains or row.trial.bits_per_byte is not None
        place, role, glyph = (1, "raw", "") if counts else (0, "dim", "")
        if row.trial.number == settings.highlighted:
            place, role, glyph = 2, "accent", HIGHLIGHTED
        if row.trial is best:
            place, role, glyph = 3, "good", BEST
        series = history.finest(curve.series(history))
        drawn = Curve(
            f"trial {row.trial.number}",
            series,
            role,
            smoothing,
            convert=curve.convert(history),
            unit=history.unit,
            positions=history.positions(settings.x_kind),
            raw=False,
            approximate=curve.approximate(history),
            glyph=glyph,
            quantity=curve.name,
            in_legend=bool(glyph),
            history=history,
        )
        found.append((place, drawn))
    return [drawn for _, drawn in sorted(found, key=lambda pair: pair[0])]
