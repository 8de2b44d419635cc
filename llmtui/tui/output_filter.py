"""What every line passes before it reaches the terminal, whatever a widget was given: control characters are removed,
characters of uncertain width too, and in ASCII mode all that is not ASCII is replaced."""

from __future__ import annotations

import re

from rich.cells import cell_len, set_cell_size
from rich.segment import Segment
from textual.color import Color
from textual.filter import LineFilter

from llmtui.view.ascii_text import to_ascii
from llmtui.view.sanitize import DANGEROUS, JOINERS, SOFT_HYPHEN

_JOINING = "".join(map(chr, JOINERS))
_MERGED = re.compile(f"(.)((?:\u200d.?|[{_JOINING}])+)")


def same_width(text: str) -> str:
    """`text`, already laid out, without characters that must not reach a terminal, in as many cells of Rich as before.

    Of characters that are merged into one glyph the first is left.
    """
    if text.isascii() and text.isprintable():
        return text
    merged = _MERGED.sub(lambda match: match[1] + " " * (cell_len(match[0]) - cell_len(match[1])), text)
    return set_cell_size(merged.replace(chr(SOFT_HYPHEN), "-").translate(DANGEROUS), cell_len(text))


class OutputFilter(LineFilter):
    """Makes every rendered line safe, see `same_width`.

    Textual caches lines per filter object: use the instances `OUTPUT_FILTER` and `ASCII_FILTER`.
    """

    def apply(self, segments: list[Segment], background: Color) -> list[Segment]:
        return [
            segment
            if segment.control or (safe := same_width(segment.text)) == segment.text
            else Segment(safe, segment.style)
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
