"""Samples of a run as text."""

from __future__ import annotations

from llmtui.view.lines import Line, wrapped
from llmtui.view.sanitize import shown


def continuation(prompt: str, text: str, width: int) -> list[Line]:
    """A prompt, dim, and its completion, wrapped together."""
    return wrapped([(shown(prompt, 100_000, lines=True), "dim"), (shown(text, 100_000, lines=True), "")], width)
