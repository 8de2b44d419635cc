"""The results of a run that a comparison shows, each a column."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Literal, NamedTuple

from core.runs.comparison import Spread, spread_of
from llmtui.view import units
from llmtui.view.run_snapshot import RunSnapshot


class Result(NamedTuple):
    """A figure of a run, and its column."""

    name: str
    heading: str
    description: str
    value: Callable[[RunSnapshot], float | None]
    text: Callable[[float], str]
    best: Literal["lowest", "highest", ""] = ""
    is_loss: bool = False
    """Whether it is in bits per byte: differences of others are given in percent."""

    def spread(self, snapshots: Iterable[RunSnapshot]) -> Spread | None:
        """Over those of `snapshots` that have it."""
        return spread_of(self.value(snapshot) for snapshot in snapshots)

    def change(self, value: float, baseline: float) -> str:
        """The difference between two values as text, with its sign."""
        if self.is_loss:
            return f"{value - baseline:+.3f}"
        return f"{100 * (value / baseline - 1):+.1f} %" if baseline else ""


def _evaluated(snapshot: RunSnapshot) -> float | None:
    return snapshot.summary.evaluation.bits_per_byte if snapshot.summary.evaluation else None


def _best(snapshot: RunSnapshot) -> float | None:
    return snapshot.summary.best.bits_per_byte if snapshot.summary.best else None


def _steps(snapshot: RunSnapshot) -> float | None:
    return snapshot.summary.metric.step if snapshot.summary.metric else None


def _tokens(snapshot: RunSnapshot) -> float | None:
    return snapshot.summary.metric.tokens if snapshot.summary.metric else None


def _seconds(snapshot: RunSnapshot) -> float | None:
    return snapshot.summary.metric.seconds if snapshot.summary.metric else None


def _speed(snapshot: RunSnapshot) -> float | None:
    metric = snapshot.summary.metric
    return metric.tokens / metric.seconds if metric and metric.seconds > 0 else None


def _parameters(snapshot: RunSnapshot) -> float | None:
    return snapshot.summary.shape.parameters if snapshot.summary.shape else None


RESULTS = {
    result.name: result
    for result in (
        Result("best", "best bpb", "Best validation loss, in bits per byte.", _best, units.cost, "lowest", True),
        Result("val", "val bpb", "Newest validation loss; the final one of a run that is done.", _evaluated, units.cost,
               "lowest", True),
        Result("loss", "train bpb", "Training loss, smoothed, in bits per byte.", lambda s: s.train_loss, units.cost,
               "lowest", True),
        Result("steps", "steps", "Steps trained.", _steps, lambda value: f"{value:,.0f}"),
        Result("tokens", "tokens", "Tokens trained on.", _tokens, units.count),
        Result("time", "time", "Time of training, without pauses.", _seconds, units.duration),
        Result("speed", "tok/s", "Tokens per second over the training.", _speed, units.count, "highest"),
        Result("params", "params", "Parameters of the model.", _parameters, units.count),
    )
}  # fmt: skip
"""The columns after the fields of the recipe, in order."""
