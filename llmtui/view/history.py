"""The curves and events of one run, as the screens show them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial

from core.events import AnyEvent, Evaluation
from core.runs.curves import Curves
from core.runs.directory import Run
from core.runs.journal_window import StepWindow
from core.runs.series import Series
from core.runs.summary import Summary
from llmtui.view.event_text import event_text
from llmtui.view.loss_unit import LossUnit
from llmtui.view.step_axis import Positions, XKind

EventRow = tuple[float, str, str]
"""Seconds since the epoch, kind, text."""


class History:
    """Accumulates the events of one run; pass them to `absorb` in order."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.curves = Curves()
        """Replaced by the curves that the worker saved, if there are any."""
        self.caught_up = False
        """Whether the journal has been read to its end."""
        self.detail: StepWindow | None = None
        """Steps of the part of the curves that is shown, where the curves are too coarse for it."""
        self.detail_revised = 0
        """`revised` of the loss when it was read."""
        self.chosen_unit = LossUnit.BITS
        """Comparable across vocabularies, unlike the others."""
        self._event_rows: tuple[int, list[EventRow]] = (0, [])
        self._positions: dict[XKind, tuple[object, Positions]] = {}
        """By kind, what they were made of and the positions."""

    def absorb(self, events: Iterable[AnyEvent]) -> None:
        """Add `events` to the curves."""
        for event in events:
            self.curves.absorb(event)

    @property
    def summary(self) -> Summary:
        return self.curves.summary

    @property
    def unit(self) -> LossUnit:
        """Unit of the losses shown: the chosen one, or nats per token where bits per byte are not known."""
        known = self.curves.bits_per_nat is not None
        return LossUnit.NATS if self.chosen_unit is LossUnit.BITS and not known else self.chosen_unit

    def cost(self, loss: float) -> float:
        """A loss in nats per token in `unit`. In bits per byte it is approximate: tokens have the mean number of bytes
        of those of the held-out text."""
        return self.unit.of_nats(loss, self.curves.bits_per_nat)

    @property
    def converter(self) -> Callable[[float], float]:
        """`cost` for many values: asking for the unit at each took as long as drawing the curve."""
        unit, bits_per_nat = self.unit, self.curves.bits_per_nat
        if unit is LossUnit.NATS:
            return float
        return (
            bits_per_nat.__mul__ if unit is LossUnit.BITS and bits_per_nat else partial(unit.of_nats, bits_per_nat=None)
        )

    @property
    def val(self) -> tuple[Series, Callable[[float], float]]:
        """The validation losses and the function that gives them in `unit`; bits per byte are exact."""
        return (self.curves.val_bits, float) if self.unit is LossUnit.BITS else (self.curves.val, self.converter)

    def evaluation_text(self, evaluation: Evaluation) -> str:
        """The validation loss of `evaluation` in `unit`."""
        exact = evaluation.bits_per_byte if self.unit is LossUnit.BITS else self.cost(evaluation.loss)
        return self.unit.text(exact, bound=evaluation.bound)

    def finest(self, series: Series) -> Series:
        """`series` of the curves as it is in `detail`, if that has it."""
        found = self.detail.series.items() if self.detail else ()
        return next((fine for name, fine in found if getattr(self.curves, name) is series), series)

    def positions(self, kind: XKind) -> Positions:
        """Where steps are on an x axis of that kind."""
        series = {XKind.TOKENS: self.curves.tokens, XKind.TIME: self.curves.seconds}.get(kind)
        made_of = series and (series, series.revised, len(series), series.end, series.high[-1:])
        if kind not in self._positions or self._positions[kind][0] != made_of:
            self._positions[kind] = made_of, Positions(series)
        return self._positions[kind][1]

    def nearest_event(self, step: float) -> str:
        """The text of the event about the step nearest to `step`; empty if there is none. Not sanitised."""
        events = ((getattr(event, "step", None), event) for event in self.curves.newest())
        found = [(abs(at - step), at, event) for at, event in events if at is not None]
        for _, at, event in sorted(found, key=lambda entry: entry[0]):
            text = event_text(event)
            if text:
                return (
                    f"{text.kind} {text.line}" if f"step {at:,}" in text.line else f"{text.kind} at {at:,}: {text.line}"
                )
        return ""

    @property
    def events(self) -> list[EventRow]:
        """The newest events that have a text, oldest first."""
        if self._event_rows[0] != self.curves.noted:
            texts = ((event, event_text(event)) for event in self.curves.newest())
            rows = [(event.at, text.kind, text.line) for event, text in texts if text]
            self._event_rows = self.curves.noted, rows
        return self._event_rows[1]
