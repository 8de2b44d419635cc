"""The trials of a study: the events of its journal, and what follows from them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from statistics import fmean
from typing import Any, Literal

import msgspec
from msgspec import Struct

from core.events import RungReached
from core.runs.directory import Run, RunState
from core.runs.failure import failure
from core.runs.run_file import TrialOrigin
from core.tune.space import Values

Outcome = Literal["done", "failed", "stopped", "lost"]


class TrialCreated(Struct, frozen=True, kw_only=True, tag=True):
    """A run was created for a combination of values."""

    number: int
    run_id: str
    values: Values
    seed: int
    """train.seed of the run."""
    origin: TrialOrigin = "sampled"
    request: str = ""
    """Id of the request of an inserted trial."""
    stop_at: float = 1.0
    """Share of its training after which it waits; 1: at its end."""
    at: float = msgspec.field(default_factory=time.time)


class TrialPaused(Struct, frozen=True, kw_only=True, tag=True):
    """A trial has reached a rung: it waits there with a checkpoint, and may be promoted."""

    number: int
    share: float
    """Of its training, 0 to 1."""
    bits_per_byte: float
    """On the held-out text of an evaluation. The result of a trial that is done is on more text."""
    seconds: float = 0.0
    """Of training."""
    at: float = msgspec.field(default_factory=time.time)


class TrialPromoted(Struct, frozen=True, kw_only=True, tag=True):
    """A trial that waited at a rung trains further, from its checkpoint."""

    number: int
    stop_at: float
    """Share of its training after which it waits again; 1: it trains to its end."""
    at: float = msgspec.field(default_factory=time.time)


class TrialEnded(Struct, frozen=True, kw_only=True, tag=True):
    """A trial has its result, or will never have one."""

    number: int
    outcome: Outcome
    bits_per_byte: float | None = None
    """On the held-out text."""
    seconds: float = 0.0
    """Of training."""
    tokens_per_second: float | None = None
    parameters: int | None = None
    flops: float | None = None
    """Of training, forward and backward."""
    tokens: int | None = None
    """Trained on."""
    reason: str = ""
    at: float = msgspec.field(default_factory=time.time)


class SettingsChanged(Struct, frozen=True, kw_only=True, tag=True):
    """The text of study.toml that trials from now on follow."""

    text: str
    at: float = msgspec.field(default_factory=time.time)


class StudyEnded(Struct, frozen=True, kw_only=True, tag=True):
    """All trials have ended."""

    at: float = msgspec.field(default_factory=time.time)


StudyEvent = TrialCreated | TrialPaused | TrialPromoted | TrialEnded | SettingsChanged | StudyEnded


class Trial(Struct, kw_only=True):
    """One run of a study."""

    number: int
    """From 1."""
    run_id: str
    values: Values
    seed: int
    origin: TrialOrigin
    stop_at: float = 1.0
    """Share of its training to which it trains, or at which it waits; 1: to its end."""
    rungs: list[TrialPaused] = []
    """Its results at the rungs it has reached, the first one first."""
    created_at: float = 0.0
    """In seconds since the epoch."""
    request: str = ""
    """Id of the request of an inserted trial."""
    ended: TrialEnded | None = None

    @property
    def paused(self) -> TrialPaused | None:
        """The rung at which it waits; None while it trains, or once it has ended."""
        waits = self.ended is None and self.rungs and self.rungs[-1].share >= self.stop_at
        return self.rungs[-1] if waits else None

    @property
    def failed(self) -> bool:
        """Whether it ended without a result for a reason of its own, such as a loss that is not finite."""
        return self.ended is not None and self.ended.outcome == "failed"

    @property
    def bits_per_byte(self) -> float | None:
        """Of a trial that is done."""
        return self.ended.bits_per_byte if self.ended and self.ended.outcome == "done" else None


def absorb(trials: dict[int, Trial], event: StudyEvent) -> None:
    """Add one event to the trials, by number."""
    match event:
        case TrialCreated():
            trials[event.number] = Trial(
                number=event.number,
                run_id=event.run_id,
                values=event.values,
                seed=event.seed,
                origin=event.origin,
                stop_at=event.stop_at,
                created_at=event.at,
                request=event.request,
            )
        case TrialPaused() if trial := trials.get(event.number):
            trial.rungs = sorted(
                (*(rung for rung in trial.rungs if rung.share != event.share), event), key=lambda rung: rung.share
            )
        case TrialPromoted() if event.number in trials:
            trials[event.number].stop_at = event.stop_at
        case TrialEnded() if event.number in trials:
            trials[event.number].ended = event


def by_values(trials: Sequence[Trial]) -> list[list[Trial]]:
    """The trials that are done, those with the same values together, the lowest mean over seeds first."""
    groups: dict[bytes, list[Trial]] = {}
    for trial in trials:
        if trial.bits_per_byte is not None:
            key = msgspec.json.encode(sorted(trial.values.items(), key=lambda pair: pair[0]))
            groups.setdefault(key, []).append(trial)
    return sorted(groups.values(), key=lambda group: fmean(trial.bits_per_byte or 0.0 for trial in group))


def best_trial(trials: Sequence[Trial]) -> Trial | None:
    """The best trial of the values with the lowest mean over seeds, in bits per byte; None before one is done."""
    groups = by_values(trials)
    return min(groups[0], key=lambda trial: trial.bits_per_byte or 0.0) if groups else None


def paused_at(rung: RungReached, number: int) -> TrialPaused:
    """The pause of a trial at a rung that its run has reached."""
    return TrialPaused(number=number, share=rung.share, bits_per_byte=rung.bits_per_byte, seconds=rung.seconds)


def result_of(run: Run, state: RunState, number: int) -> TrialEnded | None:
    """The result of a trial whose run is in `state`; None while it has none."""
    summary = run.summary()
    metric, evaluation, shape = summary.metric, summary.headline_evaluation, summary.shape
    facts: dict[str, Any] = {
        "seconds": metric.seconds if metric else 0.0,
        "tokens_per_second": metric.tokens / metric.seconds if metric and metric.seconds else None,
        "parameters": shape.parameters if shape else None,
        "flops": float(shape.flops_per_token * metric.tokens) if shape and metric else None,
        "tokens": metric.tokens if metric else None,
    }
    if state is RunState.DONE and evaluation is not None:
        return TrialEnded(number=number, outcome="done", bits_per_byte=evaluation.bits_per_byte, **facts)
    if state is RunState.DONE:
        return TrialEnded(number=number, outcome="failed", reason="it ended without an evaluation", **facts)
    if state is RunState.FAILED:
        why = failure(run, state)
        return TrialEnded(number=number, outcome="failed", reason=why.what if why else "", **facts)
    if state is RunState.STOPPED:
        return TrialEnded(number=number, outcome="stopped", reason="it was stopped", **facts)
    return None
