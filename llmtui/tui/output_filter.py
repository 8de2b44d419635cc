"""The last gate before the terminal: whatever a widget was given, nothing that steers a terminal leaves."""

from __future__ import annotations

from rich.segment import Segment
from textual.color import Color
from textual.filter import LineFilter

from llmtui.view.sanitize import DANGEROUS


class Scrub(LineFilter):
    """Removes control characters and bidirectional marks from every drawn line.

    All of them have cell width 0 in Rich, so that removing them cannot shift the layout. Textual caches lines per
    filter object: use the one instance `SCRUB`.
    """

    def apply(self, segments: list[Segment], background: Color) -> list[Segment]:
        return [
            segment
            if segment.control or segment.text.isprintable()
            else Segment(segment.text.translate(DANGEROUS), segment.style)
            for segment in segments
        ]


SCRUB = Scrub()
