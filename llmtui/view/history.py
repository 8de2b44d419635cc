"""The curves and events of one run, as the screens show them."""

from __future__ import annotations

from collections.abc import Iterable

from core.events import AnyEvent
from core.runs.curves import Curves
from core.runs.directory import Run
from core.runs.series import Series
from core.runs.summary import Summary
from llmtui.view.event_text import event_text

BITS = "bits per byte"

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
        self._event_rows: tuple[int, list[EventRow]] = (0, [])

    def absorb(self, events: Iterable[AnyEvent]) -> None:
        """Add `events` to the curves."""
        for event in events:
            self.curves.absorb(event)

    @property
    def summary(self) -> Summary:
        return self.curves.summary

    @property
    def loss(self) -> Series:
        return self.curves.loss

    @property
    def val(self) -> Series:
        return self.curves.val

    @property
    def lr(self) -> Series:
        return self.curves.lr

    @property
    def grad_norm(self) -> Series:
        return self.curves.grad_norm

    @property
    def speed(self) -> Series:
        return self.curves.speed

    @property
    def unit(self) -> str:
        """Unit of the losses; bits per byte are comparable across vocabularies."""
        return BITS if self.curves.bits_per_nat else "nats per token"

    def cost(self, loss: float) -> float:
        """Convert a loss in nats per token to `unit`."""
        return self.curves.cost(loss)

    @property
    def events(self) -> list[EventRow]:
        """The newest events that have a text, oldest first."""
        if self._event_rows[0] != self.curves.noted:
            texts = ((event, event_text(event)) for event in self.curves.newest())
            rows = [(event.at, text.kind, text.line) for event, text in texts if text]
            self._event_rows = self.curves.noted, rows
        return self._event_rows[1]
