"""Whether a run makes progress: how long its journal has not grown, beside what its steps usually take.

Each step writes an event, and so does what comes between steps before it begins; nothing is written while a step, or
the exchange between processes in it, hangs. Nothing is ended because of it: a disk or a network may come back.
"""

from __future__ import annotations

from msgspec import Struct

from core.runs.summary import Summary

MIN_SECONDS = 180.0
"""Shorter silence is never mentioned: a slow disk, another program, or a laptop that slept."""

STEP_FACTOR = 10.0
"""Of the usual time of a step; of importance for steps of more than 18 seconds, where it is more than `MIN_SECONDS`."""

BETWEEN_STEPS_SECONDS = 600.0
"""For saving a checkpoint, generating a sample, or a batch of an evaluation, whose usual time is not known."""

FIRST_STEP_SECONDS = 900.0
"""Until the first step of an attempt, in which processes find each other, memory is probed and the model compiled."""


class Stall(Struct, frozen=True, kw_only=True):
    """A run that has written nothing for too long."""

    seconds: float
    """Since its last event."""
    doing: str = ""
    """A stage, or "evaluation", "final evaluation", "checkpoint", "sample" or "first step"; empty: a training step."""
    usual: float | None = None
    """Seconds of a step, if it is in one."""


def find_stall(summary: Summary, seconds: float) -> Stall | None:
    """The stall of a run that is running and has written nothing for `seconds`; None while that is usual.

    A paused run is not running; it waits for its user.
    """
    if seconds <= MIN_SECONDS:
        return None
    doing, usual, limit = summary.stage, None, BETWEEN_STEPS_SECONDS
    if summary.stage == "train":
        doing, usual = summary.activity, None if summary.activity else summary.step_seconds
        if not doing and usual is None:
            doing, limit = "first step", FIRST_STEP_SECONDS
        elif usual is not None:
            limit = STEP_FACTOR * usual
    return Stall(seconds=seconds, doing=doing, usual=usual) if seconds > limit else None
