"""One run as the screens show it: its curves, and its events in words."""

from __future__ import annotations

from collections.abc import Iterable

from core.events import (
    AnyEvent,
    AttemptEnded,
    AttemptStarted,
    CheckpointSaved,
    Evaluation,
    GeneratedSample,
    Note,
    Paused,
    Resumed,
    StageFinished,
    StageSkipped,
    StageStarted,
    TrainingForecast,
)
from core.plural import plural
from core.runs.curves import Curves
from core.runs.directory import Run
from core.runs.series import Series
from core.runs.summary import Summary
from llmtui.view import units

BITS = "bits per byte"

Told = tuple[float, str, str]
"""Seconds since the epoch, kind, text."""


class History:
    """One run, folded from its journal. `absorb` every event in order."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.curves = Curves()
        """Replaced where the worker has kept some."""
        self.caught_up = False
        """Whether the journal has been read to its end."""
        self._told: tuple[int, list[Told]] = (0, [])

    def absorb(self, events: Iterable[AnyEvent]) -> None:
        """Let `events` change the picture."""
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
        """Of the losses, in which runs with other vocabularies compare if it is bits per byte."""
        return BITS if self.curves.bits_per_nat else "nats per token"

    def cost(self, loss: float) -> float:
        """A loss in nats per token in that unit."""
        return self.curves.cost(loss)

    @property
    def events(self) -> list[Told]:
        """Those worth a line, oldest first."""
        if self._told[0] != self.curves.noted:
            told = (_in_words(event) for event in self.curves.newest())
            self._told = self.curves.noted, [each for each in told if each]
        return self._told[1]


def _in_words(event: AnyEvent) -> Told | None:
    kind, text = "", ""
    match event:
        case AttemptStarted():
            kind, text = "start", f"attempt {event.attempt} on {event.device}"
        case StageStarted():
            kind, text = "stage", f"{event.stage} began"
        case StageSkipped():
            kind, text = "stage", f"{event.stage} is up to date"
        case StageFinished():
            kind, text = "stage", f"{event.stage} done"
        case TrainingForecast():
            kind, text = "plan", f"{units.size(event.memory.peak)} of memory"
            if event.seconds is not None and event.tokens is not None:
                text += f", {units.many(event.tokens, 'token')} in {units.duration(event.seconds)}"
        case Evaluation():
            best = ", best so far" if event.best else ", on the held-out text" if event.final else ""
            cost = units.cost(event.bits_per_byte, bound=event.bound)
            kind, text = "eval", f"step {event.step:,}  {cost} bpb{best}"
        case GeneratedSample():
            kind, text = "sample", f"step {event.step:,}  {plural(len(event.text), 'character')}"
        case CheckpointSaved():
            size, seconds = units.size(event.bytes), units.duration(event.seconds)
            kind, text = "saved", f"step {event.step:,}  {size} in {seconds}"
        case Resumed():
            kind = "resume"
            text = f"from the checkpoint of step {event.step:,}" if event.step else "begun anew: no checkpoint"
        case Note():
            kind, text = {"info": "note", "warning": "warn", "error": "error"}[event.level], event.text
        case Paused():
            kind, text = "pause", "waits at your request"
        case AttemptEnded():
            kind, text = "end", event.outcome + (f": {event.what}" if event.what else "")
    return (event.at, kind, text) if kind else None
