"""A run as text: its glyph, state, progress and figures, the same on every screen and in every command."""

from __future__ import annotations

from core.events import Evaluation
from core.plural import plural
from core.recipe.schema import Train
from core.run_names import name_of_run
from core.runs.directory import RunState
from core.runs.failure import Failure, resume_advice
from core.runs.run_file import Parent
from core.runs.stall import Stall
from core.runs.summary import Summary
from llmtui.view import units
from llmtui.view.failure_text import FailureText, failure_text
from llmtui.view.run_snapshot import RunSnapshot
from llmtui.view.sanitize import shown

_STAGE_VERBS = {
    "download": "reading",
    "preprocess": "cleaning",
    "tokenize": "tokenizing",
    "train": "training",
    "sample": "sampling",
}

_STATES = {
    RunState.CREATED: ("◌", "dim"),
    RunState.QUEUED: ("◌", "warn"),
    RunState.STARTING: ("◌", "accent"),
    RunState.RUNNING: ("●", "accent"),
    RunState.PAUSED: ("‖", "warn"),
    RunState.DONE: ("✓", "good"),
    RunState.STOPPED: ("■", "dim"),
    RunState.FAILED: ("✗", "bad"),
    RunState.INTERRUPTED: ("!", "warn"),
    RunState.UNREACHABLE: ("?", "warn"),
}


def state(snapshot: RunSnapshot) -> tuple[str, str, str]:
    """Glyph, word and colour role of the run's state."""
    if snapshot.stall:
        return "?", "stalled", "warn"
    glyph, role = _STATES[snapshot.state]
    word = snapshot.state.value
    if snapshot.ending:
        return glyph, "ending", role
    if snapshot.queue_place:
        word = f"queued {snapshot.queue_place}"
    if snapshot.state is RunState.RUNNING:
        word = "evaluating" if snapshot.summary.evaluating else _STAGE_VERBS.get(snapshot.summary.stage, "starting")
    return glyph, word, role


def stall_text(stall: Stall) -> str:
    """What a run does without progress, and for how long: `no step for 6m00s (usual 0.3s)`."""
    seconds = units.duration(stall.seconds)
    if stall.usual is not None:
        usual = units.duration(stall.usual) if stall.usual >= 0.1 else f"{1000 * stall.usual:.0f} ms"
        return f"no step for {seconds} (usual {usual})"
    doing = {
        "first step": "no first step",
        "checkpoint": "saving a checkpoint",
        "sample": "generating a sample",
        "evaluation": "no progress of the evaluation",
        "final evaluation": "no progress of the final evaluation",
    }.get(stall.doing, f"no progress of {_STAGE_VERBS.get(stall.doing, 'the start')}")
    return f"{doing} for {seconds}"


def name(snapshot: RunSnapshot) -> str:
    """The run's name, sanitised; of a run of another machine with its host."""
    host = snapshot.run.host
    return shown(snapshot.run.name, 64) + (f" @{shown(host, 20)}" if host else "")


def parent_text(parent: Parent) -> str:
    """What a branch continues."""
    return f"of {shown(name_of_run(parent.run), 64)} from step {parent.step:,}"


def bits(evaluation: Evaluation) -> str:
    """Bits per byte of held-out text, which are comparable across vocabularies."""
    return units.cost(evaluation.bits_per_byte, bound=evaluation.bound)


def val(summary: Summary) -> str:
    """The latest validation bits per byte; empty before the first evaluation."""
    if summary.evaluation is None:
        return ""
    return f"val {bits(summary.evaluation)} bpb"


def share(summary: Summary) -> float | None:
    """Completed share of the current stage, 0 to 1; None if unknown."""
    stage = summary.current_stage
    if summary.stage == "train" and summary.metric and stage.state == "working" and not summary.evaluating:
        return max(0.0, min(1.0, summary.metric.progress))
    return stage.share


def percent(value: float) -> str:
    """A share as percent with one decimal."""
    return f"{100 * value:.1f} %"


def seconds_left(summary: Summary) -> float | None:
    """Estimated seconds until the current stage is done; None if unknown."""
    stage, metric = summary.current_stage, summary.metric
    if summary.evaluating:
        return stage.seconds_left
    if summary.stage == "train" and stage.state == "working" and metric and metric.progress > 0.002:
        return metric.seconds * (1 - metric.progress) / metric.progress
    return stage.seconds_left


def remaining(summary: Summary) -> str:
    """The time left as text, without fractions of seconds, which would only flicker; empty if unknown."""
    seconds = seconds_left(summary)
    if seconds is None:
        return ""
    return f"{units.duration(max(10.0, seconds)) if seconds >= 10 else 'seconds'} left"


def speed(snapshot: RunSnapshot) -> str:
    """Throughput of the current stage; empty if unknown."""
    summary = snapshot.summary
    if snapshot.state is not RunState.RUNNING or snapshot.stall:
        return ""
    if summary.stage == "train":
        return units.rate(summary.tokens_per_second, "tok") if summary.tokens_per_second else ""
    stage = summary.stages.get(summary.stage)
    return units.rate(stage.rate, stage.unit) if stage and stage.rate else ""


def step(snapshot: RunSnapshot) -> str:
    """The training step; empty before the first one."""
    metric = snapshot.summary.metric
    if metric is None:
        return ""
    total = snapshot.run.recipe.train.steps
    return f"step {metric.step:,}/{total:,}" if total else f"step {metric.step:,}"


def limits(train: Train) -> str:
    """The limits of the training, as of train.steps, train.tokens and train.minutes."""
    parts = [plural(train.steps, "step")] if train.steps else []
    parts += [units.many(train.tokens, "token")] if train.tokens else []
    parts += [units.duration(60 * train.minutes)] if train.minutes else []
    return " or ".join(parts) or "5m00s"


def when(snapshot: RunSnapshot) -> str:
    """When the run ended, or was created if it has not ended."""
    return units.clock(snapshot.over_at or snapshot.run.made_at)


def ended_by(snapshot: RunSnapshot) -> str:
    """What the rule of the recipe found that stopped or finished the run, sanitised; empty if none did."""
    ended = snapshot.summary.ended
    if ended is None or snapshot.state not in (RunState.STOPPED, RunState.DONE):
        return ""
    return shown(ended.what, 200)


def failure(snapshot: RunSnapshot) -> FailureText:
    """Why a run failed or was interrupted, sanitised; without the advice to resume, which the footer shows as a
    key."""
    text = failure_text(snapshot.failure or Failure(what="its processes are gone"))
    todo = "" if text.todo == resume_advice(snapshot.run) else text.todo
    return FailureText(shown(text.what), shown(text.kept), shown(todo))
