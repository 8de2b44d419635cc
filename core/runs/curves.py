"""What a run's journal adds up to for display: summary, curves and the newest events; of bounded size.

The worker keeps it beside the journal, so that a screen that opens a run of a million steps need not
read its 213 MB (`benchmarks/journal.py`).
"""

from __future__ import annotations

import math
from typing import Literal

from msgspec import Struct, field

from core.events import (
    AnyEvent,
    CheckpointSaved,
    CleaningStep,
    Evaluation,
    Excerpt,
    GeneratedSample,
    HardwareReading,
    LearningRateChanged,
    Metric,
    Note,
    Paused,
    Progress,
    Resumed,
    StageFinished,
    StageSkipped,
)
from core.runs.journal_snapshot import JournalOffset
from core.runs.series import Series
from core.runs.summary import Summary

MAX_EVENTS = 200
"""Events kept of each kind; the journal has all."""

_KINDS = {
    Evaluation: "evaluation",
    GeneratedSample: "sample",
    CheckpointSaved: "saved",
    LearningRateChanged: "lr",
    Note: "note",
    Paused: "pause",
}
"""Frequent events, kept apart so that they do not push out those about attempts and stages."""

_PASSING = Metric | Progress | HardwareReading | Excerpt | CleaningStep


class Curves(Struct, kw_only=True):
    """Summary, curves and newest events of one run. `absorb` takes every event in order."""

    form: Literal[2] = 2
    """Version of the format. Raised when the same events give another result: files of another version are not read."""
    journal_offset: JournalOffset | None = field(default=None, name="place")
    """Set when it is written to curves.json."""
    summary: Summary = field(default_factory=Summary)
    loss: Series = field(default_factory=Series)
    val: Series = field(default_factory=Series)
    """`loss` and `val` are in nats per token."""
    val_bits: Series = field(default_factory=Series)
    """`val` in bits per byte, as measured: text with other tokens has another number of bytes per token."""
    lr: Series = field(default_factory=Series)
    grad_norm: Series = field(default_factory=Series)
    speed: Series = field(default_factory=Series)
    """As in `Metric`: `grad_norm` is taken before clipping; `speed` is in tokens per second."""
    utilisation: Series = field(default_factory=Series)
    """Of the GPUs, or of the processor where there is none: 0 to 1, at the step before the reading."""
    memory: Series = field(default_factory=Series)
    """Used share of that of the GPUs, or of the machine where there is none, like `utilisation`. Missing, not wrong,
    in files of this version from before it was kept."""
    tokens: Series = field(default_factory=Series)
    seconds: Series = field(default_factory=Series)
    """Trained on, and of training without pauses, since the first step: what the x axis of a chart may show."""
    events: dict[str, list[tuple[int, AnyEvent]]] = {}
    """The newest events of each kind, each with its number among all displayed events."""
    noted: int = 0
    """Number of displayed events so far."""
    bytes_per_token: float | None = None
    """Mean of the held-out text, as the tokenize stage reports it."""
    last: tuple[int, int, float] | None = None
    """Step, tokens and seconds of the previous step."""

    def absorb(self, event: AnyEvent) -> None:
        """Add one event."""
        was_paused = self.summary.paused
        self.summary.absorb(event)
        match event:
            case Metric():
                self._measure(event)
            case Evaluation(final=False):  # the final one uses another text: the curve would jump
                self.val.add(event.step, event.loss)
                self.val_bits.add(event.step, event.bits_per_byte)
            case HardwareReading() if self.last:
                gpus, step = event.gpus, self.last[0]
                used, total = sum(gpu.memory for gpu in gpus), sum(gpu.memory_total for gpu in gpus)
                self.utilisation.add(step, sum(gpu.utilisation for gpu in gpus) / len(gpus) if gpus else event.cpu)
                self.memory.add(step, used / max(1, total) if gpus else event.ram / max(1, event.ram_total))
            case Resumed():
                self._forget_after(event.last)
            case StageFinished(stage="tokenize") | StageSkipped(stage="tokenize"):
                self._learn_bytes(event.facts.get("bytes_per_token"))
        if not isinstance(event, _PASSING) and not (was_paused and isinstance(event, Paused)):
            self._keep(event)

    def newest(self) -> list[AnyEvent]:
        """The displayed events, oldest first."""
        return [event for _, event in sorted((pair for kept in self.events.values() for pair in kept), key=_number)]

    @property
    def bits_per_nat(self) -> float | None:
        """Bits per byte for each nat per token, by the mean of the held-out text; None before it is known."""
        return 1 / (math.log(2) * self.bytes_per_token) if self.bytes_per_token else None

    def _learn_bytes(self, bytes_per_token: float | str | None) -> None:
        if isinstance(bytes_per_token, int | float) and 1e-9 < bytes_per_token < 1e9:
            self.bytes_per_token = self.bytes_per_token or bytes_per_token

    def _all_series(self) -> tuple[Series, ...]:
        values = (self.loss, self.val, self.val_bits, self.lr, self.grad_norm, self.speed, self.utilisation)
        return (*values, self.memory, self.tokens, self.seconds)

    def _forget_after(self, step: int) -> None:
        for series in self._all_series():
            series.truncate_after(step)
        self.last = None

    def _measure(self, metric: Metric) -> None:
        if self.last and metric.step <= self.last[0]:
            self._forget_after(metric.step - 1)  # restarted by a version that wrote no Resumed event
        self.loss.add(metric.step, metric.loss)
        self.lr.add(metric.step, metric.lr)
        self.grad_norm.add(metric.step, metric.grad_norm)
        self.tokens.add(metric.step, float(metric.tokens))
        self.seconds.add(metric.step, metric.seconds)
        if self.last:
            _, tokens, seconds = self.last
            if metric.seconds > seconds:
                self.speed.add(metric.step, (metric.tokens - tokens) / (metric.seconds - seconds))
        self.last = metric.step, metric.tokens, metric.seconds

    def _keep(self, event: AnyEvent) -> None:
        self.noted += 1
        kept = self.events.setdefault(_KINDS.get(type(event), "other"), [])
        kept.append((self.noted, event))
        if len(kept) > MAX_EVENTS:
            del kept[0]


def _number(pair: tuple[int, AnyEvent]) -> int:
    return pair[0]
