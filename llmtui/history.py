"""What the journal of one run adds up to for the eye: the summary, the curves, the events worth a line."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable

from core.events import (
    AnyEvent,
    Ended,
    Evaluation,
    Metric,
    Note,
    Paused,
    Plan,
    Resumed,
    Saved,
    StageFinished,
    StageSkipped,
    StageStarted,
    Started,
)
from core.events import Sample as SampleEvent
from core.plural import plural
from core.runs.directory import Run
from core.runs.summary import Summary
from llmtui import units
from llmtui.widgets.series import Series

BITS = "bits per byte"
KEPT = 200
"""Events and samples kept for the screen; the journal has them all."""


class History:
    """One run, folded from its journal. `absorb` every event in order."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.summary = Summary()
        self.loss, self.val = Series(), Series()
        """In bits per byte where it is known how many bytes a token holds, in nats per token where not: see `unit`."""
        self.lr, self.grad_norm, self.speed = Series(), Series(), Series()
        """Peak rate so far, norm before clipping, tokens a second of each step."""
        self.events: deque[tuple[float, str, str]] = deque(maxlen=KEPT)
        """(seconds since the epoch, kind, text), oldest first."""
        self.caught_up = False
        """Whether the journal has been read to its end."""
        self._last: Metric | None = None
        self._paused = False
        self._bits: float | None = None

    def absorb(self, events: Iterable[AnyEvent]) -> None:
        """Let `events` change the picture."""
        for event in events:
            self.summary.absorb(event)
            if isinstance(event, Metric):
                self._measure(event)
            else:
                self._note(event)

    @property
    def unit(self) -> str:
        """Of the losses, in which runs with other vocabularies compare if it is bits per byte."""
        return BITS if self._bits_per_nat else "nats per token"

    def cost(self, loss: float) -> float:
        """A loss in nats per token in that unit."""
        return loss * (self._bits_per_nat or 1.0)

    @property
    def _bits_per_nat(self) -> float | None:
        if self._bits is None:
            held = self.summary.stages["tokenize"].facts.get("bytes_per_token")
            self._bits = 1 / (math.log(2) * held) if isinstance(held, int | float) and held > 0 else None
        return self._bits

    def _forget_after(self, step: int) -> None:
        for series in (self.loss, self.val, self.lr, self.grad_norm, self.speed):
            series.forget_after(step)
        self._last = None

    def _measure(self, metric: Metric) -> None:
        if self._last and metric.step <= self._last.step:
            self._forget_after(metric.step - 1)  # begun anew by a version that did not say so
        self.loss.add(metric.step, self.cost(metric.loss))
        self.lr.add(metric.step, metric.lr)
        self.grad_norm.add(metric.step, metric.grad_norm)
        before, self._last = self._last, metric
        if before and metric.seconds > before.seconds:
            self.speed.add(metric.step, (metric.tokens - before.tokens) / (metric.seconds - before.seconds))

    def _note(self, event: AnyEvent) -> None:
        paused, self._paused = self._paused, isinstance(event, Paused)
        kind, text = "", ""
        match event:
            case Started():
                kind, text = "start", f"attempt {event.attempt} on {event.device}"
            case StageStarted():
                kind, text = "stage", f"{event.stage} began"
            case StageSkipped():
                kind, text = "stage", f"{event.stage} is up to date"
            case StageFinished():
                kind, text = "stage", f"{event.stage} done"
            case Plan():
                kind, text = "plan", f"{units.size(event.memory.peak)} of memory"
                if event.seconds is not None and event.tokens is not None:
                    text += f", {units.many(event.tokens, 'token')} in {units.duration(event.seconds)}"
            case Evaluation():
                if not event.final:  # another text: its loss would make a jump that the model did not
                    self.val.add(event.step, event.bits_per_byte if self._bits_per_nat else event.loss)
                best = ", best so far" if event.best else ", on the held-out text" if event.final else ""
                kind, text = (
                    "eval",
                    f"step {event.step:,}  {units.cost(event.bits_per_byte, bound=event.bound)} bpb{best}",
                )
            case SampleEvent():
                kind, text = "sample", f"step {event.step:,}  {plural(len(event.text), 'character')}"
            case Saved():
                size, seconds = units.size(event.bytes), units.duration(event.seconds)
                kind, text = "saved", f"step {event.step:,}  {size} in {seconds}"
            case Resumed():
                kind = "resume"
                text = f"from the checkpoint of step {event.step:,}" if event.step else "begun anew: no checkpoint"
                self._forget_after(event.last)
            case Note():
                kind, text = {"info": "note", "warning": "warn", "error": "error"}[event.level], event.text
            case Paused() if not paused:
                kind, text = "pause", "waits at your request"
            case Ended():
                kind, text = "end", event.outcome + (f": {event.what}" if event.what else "")
        if kind:
            self.events.append((event.at, kind, text))
