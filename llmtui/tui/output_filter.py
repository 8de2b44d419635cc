"""What every line passes before it reaches the terminal, whatever a widget was given: control characters are removed,
and in ASCII mode all other characters replaced."""

from __future__ import annotations

from rich.segment import Segment
from textual.color import Color
from textual.filter import LineFilter

from llmtui.view.ascii_text import to_ascii
from llmtui.view.sanitize import DANGEROUS


class OutputFilter(LineFilter):
    """Removes control characters and bidirectional marks from every rendered line.

    All of them have cell width 0 in Rich, so that removing them does not shift the layout. Textual caches lines per
    filter object: use the instances `OUTPUT_FILTER` and `ASCII_FILTER`.
    """

    def apply(self, segments: list[Segment], background: Color) -> list[Segment]:
        return [
            segment
            if segment.control or segment.text.isprintable()
            else Segment(segment.text.translate(DANGEROUS), segment.style)
            for segment in segments
        ]


class AsciiFilter(LineFilter):
    """Replaces every character that is not ASCII by one or two that are: frames, curves, glyphs, and text of data.

    Here and nowhere else: panes draw as for any terminal, and what is copied or saved keeps its characters.
    """

    def apply(self, segments: list[Segment], background: Color) -> list[Segment]:
        return [
            segment if segment.control or segment.text.isascii() else Segment(to_ascii(segment.text), segment.style)
            for segment in segments
        ]


OUTPUT_FILTER = OutputFilter()
ASCII_FILTER = AsciiFilter()
