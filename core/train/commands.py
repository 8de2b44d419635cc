"""What can be asked of a trainer while it works: sent in at each event it yields."""

from __future__ import annotations

from msgspec import Struct


class Stop(Struct, frozen=True):
    """Save a checkpoint after the step at hand, and end."""


class Checkpoint(Struct, frozen=True):
    """Save a checkpoint after the step at hand."""


class Draw(Struct, frozen=True, kw_only=True):
    """Draw a sample after the step at hand; None takes the recipe's value."""

    prompt: str | None = None
    temperature: float | None = None
    top_k: int | None = None
    top_p: float | None = None
    seed: int | None = None


Command = Stop | Checkpoint | Draw
Commands = tuple[Command, ...]
