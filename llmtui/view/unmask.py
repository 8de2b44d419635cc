"""The text of a masked model while it is unmasked, as styled spans."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from core.sample.protocol import Loaded, Span
from llmtui.view.sanitize import visible

MASK = "░"
"""Shown in place of masked positions."""


def mask_width(prompt: str, loaded: Loaded) -> int:
    """Cells to show for a masked position: the prompt's mean token length, so that unmasking changes the text's length
    little."""
    return min(6, max(1, round(len(prompt) / max(1, loaded.prompt_tokens))))


def styled(spans: Iterable[Span], width: int = 1) -> Iterator[tuple[str, str]]:
    """Sanitised text and its style: masked positions of `width` cells each are dim, new text has the accent."""
    for span in spans:
        if span.masked:
            yield MASK * (span.masked * width), "dim"
        else:
            yield visible(span.text), "accent" if span.new else ""
