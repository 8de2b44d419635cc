"""A run told in lines of text: what its events mean, for whoever has no workbench in front of them."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import TypeVar

from core.events import (
    AnyEvent,
    AttemptEnded,
    AttemptStarted,
    CheckpointSaved,
    CleaningReport,
    CompressionBaseline,
    Evaluation,
    GeneratedSample,
    Metric,
    ModelInfo,
    Note,
    Paused,
    Progress,
    Resumed,
    StageFinished,
    StageSkipped,
    StageStarted,
    StepEffect,
    TrainingForecast,
)
from core.runs.directory import Run
from core.runs.failure import told
from core.runs.summary import Summary
from llmtui.view import plan_text
from llmtui.view.sanitize import shown
from llmtui.view.units import amount, cost, count, duration, facts, many, perplexity, rate, size

PROGRESS_EVERY = 5.0
"""Seconds of the worker's clock between two lines of progress."""

POLL = 0.2
"""Seconds between two looks at a journal that is being written."""

INDENT = 12
"""Columns of the stage's name that most lines begin with."""

EXCERPT = 100
"""Characters of a sample that fit into its line."""


class Narrator:
    """Turns events, taken in order, into lines worth reading. Keeps their summary and the final samples on the way."""

    def __init__(self, summary: Summary | None = None) -> None:
        """summary: of what was told before."""
        self.summary = summary or Summary()
        self.samples: list[GeneratedSample] = []
        """What the last stage drew."""
        self._stage_began: float | None = None
        """On the worker's clock; None where nobody has heard it begin."""
        self._spoke = 0.0

    def tell(self, event: AnyEvent, *, progress: bool = True) -> Iterator[str]:
        """Lines about `event`, none for most; not sanitised but for excerpts. progress: tell of it now and then."""
        self.summary.absorb(event)
        match event:
            case StageStarted(stage=stage):
                self._stage_began = self._spoke = event.tick
                if stage == "sample":
                    self.samples.clear()
                yield _line(stage, "started")
            case Progress() | Metric():
                if progress and self.summary.stage and event.tick - self._spoke >= PROGRESS_EVERY:
                    self._spoke = event.tick
                    yield _line(self.summary.stage, describe_progress(self.summary))
            case StageFinished(stage=stage):
                took = "" if self._stage_began is None else f" in {duration(event.tick - self._stage_began)}"
                yield _line(stage, ", ".join(filter(None, [f"done{took}", facts(event.facts)])))
            case GeneratedSample() if self.summary.stage == "sample":
                self.samples.append(event)
            case AttemptStarted():
                self._spoke = event.tick
                yield f"attempt {event.attempt} on {event.device}"
            case _:
                yield from _tell_plainly(event, self.summary.stage)


def _tell_plainly(event: AnyEvent, stage: str) -> Iterator[str]:
    """Lines about events that mean the same whatever came before."""
    match event:
        case StageSkipped():
            yield _line(event.stage, ", ".join(filter(None, ["up to date", facts(event.facts)])))
        case CleaningReport(steps=steps):
            for step in steps:
                if step.changed or step.removed:
                    yield _line(stage, f"{step.step}: {_effect(step)}")
        case ModelInfo():
            yield _line(
                stage,
                f"{count(event.parameters)} parameters, vocabulary {event.vocabulary:,}, "
                f"{many(event.tokens, 'token')} to learn from",
            )
        case TrainingForecast():
            for name, text in plan_text.lines(event):
                yield _line(stage, f"{name:<10}  {text}")
        case Resumed():
            yield _line(stage, f"goes on from step {event.step:,}" if event.step else "begins anew: no checkpoint")
        case Evaluation():
            best = ", best so far" if event.best else ", on the held-out text" if event.final else ""
            figure = partial(cost, bound=event.bound)
            training = "" if event.train_loss is None else f" (training {figure(event.train_loss)})"
            yield _line(
                stage,
                f"step {event.step:,}: validation loss {figure(event.loss)}{training}, "
                f"perplexity {perplexity(event.loss, bound=event.bound)}, "
                f"{figure(event.bits_per_byte)} bits per byte{best}",
            )
        case GeneratedSample():
            yield _line(stage, f"step {event.step:,} writes: {shown(event.prompt + event.text, EXCERPT)}")
        case CheckpointSaved():
            yield _line(
                stage, f"step {event.step:,}: checkpoint of {size(event.bytes)} saved in {duration(event.seconds)}"
            )
        case CompressionBaseline():
            yield _line(
                "baseline", f"{event.name} needs {cost(event.bits_per_byte)} bits per byte for the held-out text"
            )
        case Note():
            yield _line(stage, event.text if event.level == "info" else f"{event.level}: {event.text}")
        case Paused():
            yield _line(stage, "paused")
        case AttemptEnded(outcome="stopped"):
            yield "stopped on request"
        case AttemptEnded(outcome="done"):
            yield "done"


def _effect(step: StepEffect) -> str:
    """What a cleaning step did, without what it did not do."""
    return ", ".join(
        f"{amount} {word}"
        for number, amount, word in (
            (step.changed, f"{step.changed:,}", "changed"),
            (step.removed, f"{step.removed:,}", "removed"),
            (step.bytes, size(abs(step.bytes)), "less" if step.bytes > 0 else "more"),
        )
        if number
    )


def _line(stage: str, text: str) -> str:
    return f"{stage:<{INDENT - 2}}  {text}"


def describe_progress(summary: Summary) -> str:
    """The current stage in one line: how far, how fast, how long still."""
    stage, metric = summary.at_work, summary.metric
    parts, speed = [], ""
    if summary.stage == "train":
        if summary.evaluating:
            parts += [f"step {metric.step:,}"] if metric else []
            parts += ["evaluating the held-out text"]
        elif metric:
            parts += [f"step {metric.step:,}", f"loss {cost(metric.loss)}"]
            speed = rate(summary.tokens_per_second, "tok") if summary.tokens_per_second else ""
    elif stage.unit:
        parts += [amount(stage.done, stage.unit)]
        speed = rate(stage.rate, stage.unit) if stage.rate else ""
    parts += [speed] if speed else []
    if stage.share is not None:
        parts += [f"{stage.share:.0%}"]
    if stage.eta is not None:
        parts += [f"{duration(stage.eta)} left"]
    return ", ".join(parts)


def describe_failure(run: Run) -> str:
    """Why the run is not done although nobody works on it: sentences for a person, not sanitised."""
    return "\n        ".join(told(run).lines())


Item = TypeVar("Item")


def follow(run: Run, read: Callable[[], Iterable[Item]]) -> Iterator[Item]:
    """What `read` finds new in the journal, as it comes, until the run has ended and everything has been read."""
    while True:
        alive = run.state().alive  # asked first: what was written before the end is read after it
        yield from read()
        if not alive:
            return
        time.sleep(POLL)


def result(run: Run, told: Narrator) -> Iterator[str]:
    """What a finished run has to show for itself: its samples, its figures, what to try next. Not sanitised."""
    for sample in told.samples:
        yield f"{sample.prompt}{sample.text}\n"
    summary = told.summary
    rows = []
    if summary.evaluation and math.isfinite(summary.evaluation.loss):
        loss, bound = summary.evaluation.loss, summary.evaluation.bound
        in_words = f"{cost(loss, bound=bound)} nats per token (perplexity {perplexity(loss, bound=bound)})"
        rows.append(("validation loss", in_words))
        baselines = ", ".join(f"{name} {cost(bits)}" for name, bits in summary.compression_baselines.items())
        figure = cost(summary.evaluation.bits_per_byte, bound=bound)
        rows.append(("bits per byte", figure + (f"   ({baselines})" if baselines else "")))
    if summary.metric and summary.metric.seconds > 0:
        mean = rate(summary.metric.tokens / summary.metric.seconds, "tok")
        rows.append(("training", f"{plan_text.time_then(summary, run.recipe.train)}, {mean}"))
        rows.append(("seen", plan_text.tokens_then(summary, run.recipe.train)))
    if summary.plan and summary.peak:
        rows.append(("memory", plan_text.memory_then(summary)))
    rows.append(("run", str(run.path)))
    rows.append(("try next", f"llmtui sample {run.id} 'PROMPT'"))
    rows.append(("", "llmtui   the workbench: curves, chat with the model"))
    for label, text in rows:
        yield f"{label:<16}  {text}"
