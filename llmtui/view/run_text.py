"""Runs in words: the same glyph, word and figure wherever a run is mentioned."""

from __future__ import annotations

from core.events import Evaluation
from core.plural import plural
from core.recipe.schema import Train
from core.runs.directory import RunState
from core.runs.failure import Failure
from core.runs.summary import Summary
from llmtui.view import units
from llmtui.view.failure_text import FailureText, failure_text
from llmtui.view.run_snapshot import RunSnapshot
from llmtui.view.sanitize import shown

_DOING = {
    "download": "reading",
    "preprocess": "cleaning",
    "tokenize": "tokenizing",
    "train": "training",
    "sample": "sampling",
}

_STATES = {
    RunState.CREATED: ("◌", "dim"),
    RunState.STARTING: ("◌", "accent"),
    RunState.RUNNING: ("●", "accent"),
    RunState.PAUSED: ("‖", "warn"),
    RunState.DONE: ("✓", "good"),
    RunState.STOPPED: ("■", "dim"),
    RunState.FAILED: ("✗", "bad"),
    RunState.INTERRUPTED: ("!", "warn"),
}


def state(glance: RunSnapshot) -> tuple[str, str, str]:
    """Glyph, word and role of what the run is doing."""
    if glance.silent:
        return "?", f"stalled {units.duration(glance.silent)}", "warn"
    glyph, role = _STATES[glance.state]
    word = glance.state.value
    if glance.ending:
        return glyph, "ending", role
    if glance.state is RunState.RUNNING:
        word = "evaluating" if glance.summary.evaluating else _DOING.get(glance.summary.stage, "starting")
    return glyph, word, role


def name(glance: RunSnapshot) -> str:
    """The run's name, fit to be shown."""
    return shown(glance.run.name, 64)


def bits(evaluation: Evaluation) -> str:
    """Bits per byte of held-out text, which compare across vocabularies."""
    return units.cost(evaluation.bits_per_byte, bound=evaluation.bound)


def val(summary: Summary) -> str:
    """The newest validation figure."""
    if summary.evaluation is None:
        return ""
    return f"val {bits(summary.evaluation)} bpb"


def share(summary: Summary) -> float | None:
    """How much of the stage at work is done, 0 to 1."""
    stage = summary.current_stage
    if summary.stage == "train" and summary.metric and stage.state == "working" and not summary.evaluating:
        return max(0.0, min(1.0, summary.metric.progress))
    return stage.share


def percent(value: float) -> str:
    """A share as percent with one decimal."""
    return f"{100 * value:.1f} %"


def left(summary: Summary) -> float | None:
    """Seconds until the stage at work is done; None while nobody can know."""
    stage, metric = summary.current_stage, summary.metric
    if summary.evaluating:
        return stage.seconds_left
    if summary.stage == "train" and stage.state == "working" and metric and metric.progress > 0.002:
        return metric.seconds * (1 - metric.progress) / metric.progress
    return stage.seconds_left


def remaining(summary: Summary) -> str:
    """The time left, in whole seconds or more: figures that change twice a second are noise."""
    seconds = left(summary)
    if seconds is None:
        return ""
    return f"{units.duration(max(10.0, seconds)) if seconds >= 10 else 'seconds'} left"


def speed(glance: RunSnapshot) -> str:
    """How fast the stage at work goes."""
    summary = glance.summary
    if glance.state is not RunState.RUNNING:
        return ""
    if summary.stage == "train":
        return units.rate(summary.tokens_per_second, "tok") if summary.tokens_per_second else ""
    stage = summary.stages.get(summary.stage)
    return units.rate(stage.rate, stage.unit) if stage and stage.rate else ""


def step(glance: RunSnapshot) -> str:
    """Where training is."""
    metric = glance.summary.metric
    if metric is None:
        return ""
    total = glance.run.recipe.train.steps
    return f"step {metric.step:,}/{total:,}" if total else f"step {metric.step:,}"


def limits(train: Train) -> str:
    """What ends the training."""
    parts = [plural(train.steps, "step")] if train.steps else []
    parts += [units.many(train.tokens, "token")] if train.tokens else []
    parts += [units.duration(60 * train.minutes)] if train.minutes else []
    return " or ".join(parts) or "5m00s"


def when(glance: RunSnapshot) -> str:
    """When a run that is over ended; when one that never ran was made."""
    return units.clock(glance.over_at or glance.run.made_at)


def failure(glance: RunSnapshot) -> FailureText:
    """Why a run failed or was interrupted, sanitised; without the advice to resume, which the footer gives as a key."""
    text = failure_text(glance.failure or Failure(what="its processes are gone"))
    todo = "" if text.todo == f"go on: llmtui resume {glance.run.id}" else text.todo
    return FailureText(shown(text.what), shown(text.kept), shown(todo))
