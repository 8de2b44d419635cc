"""What an event of a run says, in one wording for the command line and the screens."""

from __future__ import annotations

from functools import partial, singledispatch
from typing import NamedTuple

from core.events import (
    AttemptEnded,
    AttemptStarted,
    CheckpointSaved,
    CleaningReport,
    CleaningStep,
    CompressionBaseline,
    Evaluation,
    Event,
    Excerpt,
    GeneratedSample,
    HardwareReading,
    LearningRateChanged,
    Metric,
    ModelInfo,
    Note,
    Paused,
    Progress,
    Resumed,
    RuleActed,
    RungReached,
    StageFinished,
    StageSkipped,
    StageStarted,
    StepEffect,
    TrainingForecast,
)
from core.plural import plural
from llmtui.view import plan_text
from llmtui.view.sanitize import shown
from llmtui.view.units import cost, count, duration, facts, many, perplexity, size

EXCERPT_LENGTH = 100
"""Characters of a generated sample that are shown in its line."""

_NOTE_KINDS = {"info": "note", "warning": "warn", "error": "error"}


_RULE_ACTIONS = {
    "checkpoint": "; a checkpoint is saved",
    "stop": "; the run saves a checkpoint and stops",
    "finish": "; the training is finished",
    "fail": "; the run fails",
}


class EventText(NamedTuple):
    """An event as text; not sanitised, except for excerpts of generated text."""

    kind: str
    """A label of at most six characters."""
    text: str
    """One line."""
    details: tuple[str, ...] = ()
    """Lines that say more than `text`, to be shown in its place where there is room."""
    stage: str = ""
    """The stage that `text` is about, which it does not name; empty: the current one."""

    @property
    def lines(self) -> tuple[str, ...]:
        """The longest form."""
        return self.details or (self.text,)

    @property
    def line(self) -> str:
        """The shortest form, with the stage's name."""
        return f"{self.stage} {self.text}" if self.stage else self.text


@singledispatch
def event_text(event: Event) -> EventText | None:
    """The text of `event`; None for events that are shown by other means or not at all.

    Raises TypeError for a class of events that is not registered here.
    """
    raise TypeError(f"no text for events of class {type(event).__name__}: register one in {__name__}")


@event_text.register
def _(event: Progress | Metric | HardwareReading | Excerpt | CleaningStep) -> None:
    return None


@event_text.register
def _(event: AttemptStarted) -> EventText:
    return EventText("start", f"attempt {event.attempt} on {event.device}")


@event_text.register
def _(event: StageStarted) -> EventText:
    return EventText("stage", "started", stage=event.stage)


@event_text.register
def _(event: StageSkipped) -> EventText:
    text = ", ".join(filter(None, ["up to date", facts(event.facts)]))
    return EventText("stage", text, stage=event.stage)


@event_text.register
def _(event: StageFinished) -> EventText:
    return EventText("stage", ", ".join(filter(None, ["done", facts(event.facts)])), stage=event.stage)


@event_text.register
def _(event: CleaningReport) -> EventText:
    kept, read = event.after, event.before
    text = f"{kept.documents:,} of {plural(read.documents, 'document')} kept, {size(kept.bytes)} of {size(read.bytes)}"
    effects = (f"{step.step}: {_effect(step)}" for step in event.steps if step.changed or step.removed)
    return EventText("clean", text, (text, *effects))


def _effect(step: StepEffect) -> str:
    """What a cleaning step changed, without what is zero."""
    return ", ".join(
        f"{figure} {word}"
        for number, figure, word in (
            (step.changed, f"{step.changed:,}", "changed"),
            (step.removed, f"{step.removed:,}", "removed"),
            (step.bytes, size(abs(step.bytes)), "less" if step.bytes > 0 else "more"),
        )
        if number
    )


@event_text.register
def _(event: ModelInfo) -> EventText:
    parameters, tokens = f"{count(event.parameters)} parameters", many(event.tokens, "training token")
    return EventText("model", f"{parameters}, vocabulary {event.vocabulary:,}, {tokens}")


@event_text.register
def _(event: TrainingForecast) -> EventText:
    text = f"{size(event.memory.peak)} of memory"
    if event.seconds is not None and event.tokens is not None:
        text += f", {many(event.tokens, 'token')} in {duration(event.seconds)}"
    return EventText("plan", text, tuple(f"{name:<10}  {row}" for name, row in plan_text.lines(event)))


@event_text.register
def _(event: Resumed) -> EventText:
    return EventText("resume", f"resumed from step {event.step:,}" if event.step else "restarted: no checkpoint")


@event_text.register
def _(event: Evaluation) -> EventText:
    figure = partial(cost, bound=event.bound)
    remark = ", best so far" if event.best else ", on the held-out text" if event.final else ""
    bits = f"{figure(event.bits_per_byte)} bits per byte"
    training = "" if event.train_loss is None else f" (training {figure(event.train_loss)})"
    wavering = f"perplexity {perplexity(event.loss, bound=event.bound)}"
    detail = f"step {event.step:,}: validation loss {figure(event.loss)}{training}, {wavering}, {bits}{remark}"
    return EventText("eval", f"step {event.step:,}: {bits}{remark}", (detail,))


@event_text.register
def _(event: GeneratedSample) -> EventText:
    start = " ".join((event.prompt + event.text[: 2 * EXCERPT_LENGTH]).split())
    return EventText("sample", f"step {event.step:,}: {shown(start, EXCERPT_LENGTH)}")


@event_text.register
def _(event: CheckpointSaved) -> EventText:
    return EventText(
        "saved", f"step {event.step:,}: checkpoint of {size(event.bytes)} saved in {duration(event.seconds)}"
    )


@event_text.register
def _(event: LearningRateChanged) -> EventText:
    return EventText("lr", f"step {event.step:,}: peak learning rate {event.before:.3g} → {event.lr:.3g} from here on")


@event_text.register
def _(event: CompressionBaseline) -> EventText:
    return EventText("base", f"{event.name}: {cost(event.bits_per_byte)} bits per byte of the held-out text")


@event_text.register
def _(event: Note) -> EventText:
    details = () if event.level == "info" else (f"{event.level}: {event.text}",)
    return EventText(_NOTE_KINDS[event.level], event.text, details)


@event_text.register
def _(event: RuleActed) -> EventText:
    return EventText("rule", f"step {event.step:,}: {event.what}{_RULE_ACTIONS[event.action]}")


@event_text.register
def _(event: RungReached) -> EventText:
    done = f"{event.share:.0%} of the training is done"
    return EventText("rung", f"step {event.step:,}: {done}, {cost(event.bits_per_byte)} bits per byte")


@event_text.register
def _(event: Paused) -> EventText:
    return EventText("pause", "paused")


@event_text.register
def _(event: AttemptEnded) -> EventText:
    outcome = "stopped on request" if event.outcome == "stopped" and not event.what else event.outcome
    return EventText("end", outcome + (f": {event.what}" if event.what else ""))
