"""A text that a masked model uncovers, for the eye."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from core.sample.protocol import Loaded, Span
from llmtui.view.sanitize import visible

HIDDEN = "░"


def cells(prompt: str, loaded: Loaded) -> int:
    """How wide a hidden place is drawn: as the prompt's tokens are on average, so that the text grows little while it
    is uncovered."""
    return min(6, max(1, round(len(prompt) / max(1, loaded.prompt_tokens))))


def styled(spans: Iterable[Span], width: int = 1) -> Iterator[tuple[str, str]]:
    """Text that may be shown, and its role: hidden places, each `width` cells, dim, what is new accented."""
    for span in spans:
        if span.masked:
            yield HIDDEN * (span.masked * width), "dim"
        else:
            yield visible(span.text), "accent" if span.new else ""
