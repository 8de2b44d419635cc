"""Removes control characters from every line before it reaches the terminal, whatever a widget was given."""

from __future__ import annotations

from rich.segment import Segment
from textual.color import Color
from textual.filter import LineFilter

from llmtui.view.sanitize import DANGEROUS


class OutputFilter(LineFilter):
    """Removes control characters and bidirectional marks from every rendered line.

    All of them have cell width 0 in Rich, so that removing them does not shift the layout. Textual caches lines per
    filter object: use the one instance `OUTPUT_FILTER`.
    """

    def apply(self, segments: list[Segment], background: Color) -> list[Segment]:
        return [
            segment
            if segment.control or segment.text.isprintable()
            else Segment(segment.text.translate(DANGEROUS), segment.style)
            for segment in segments
        ]


OUTPUT_FILTER = OutputFilter()
