"""Commands that a trainer accepts, sent into its generator at each event that it yields."""

from __future__ import annotations

from collections.abc import Generator

from msgspec import Struct

from core.events import Event


class Stop(Struct, frozen=True):
    """Save a checkpoint after the current step, and end."""


class SaveCheckpoint(Struct, frozen=True):
    """Save a checkpoint after the current step."""


class ChangeLearningRate(Struct, frozen=True):
    """Save a checkpoint after the current step, then train with `factor` times the learning rates of the recipe."""

    factor: float
    """Positive."""


class GenerateSample(Struct, frozen=True, kw_only=True):
    """Generate a sample after the current step. A field that is None takes the recipe's value."""

    prompt: str | None = None
    temperature: float | None = None
    top_k: int | None = None
    top_p: float | None = None
    seed: int | None = None


Command = Stop | SaveCheckpoint | ChangeLearningRate | GenerateSample
Commands = tuple[Command, ...]

EventStream = Generator[Event, Commands | None, None]
"""Yields the events of a stage; the commands sent in are carried out after the current step."""
