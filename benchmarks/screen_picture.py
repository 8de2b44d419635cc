"""The screen of a running application as an SVG picture: a third of the size of Textual's own, without fonts from the
network."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html import escape
from itertools import groupby
from typing import Any, NamedTuple

from rich.cells import cell_len
from rich.color import Color
from rich.segment import Segment
from rich.style import Style
from textual.app import App

CELL_WIDTH, CELL_HEIGHT, FONT_SIZE = 8.4, 18, 14
"""In pixels; the width of a cell is that of most monospaced fonts."""

MARGIN = 10

_WORDS = re.compile(r"\S+(?: \S+)*")

_STYLE = (
    f"text{{font:{FONT_SIZE}px 'JetBrains Mono','DejaVu Sans Mono',Menlo,Consolas,monospace;white-space:pre}}"
    "rect{shape-rendering:crispEdges}"
)


class Run(NamedTuple):
    """Cells of one row that share a style."""

    column: int
    text: str
    style: Style

    @property
    def colors(self) -> tuple[str, str]:
        """Foreground and background, as hexadecimal numbers."""
        front, back = _hex(self.style.color, "#ffffff"), _hex(self.style.bgcolor, "#000000")
        return (back, front) if self.style.reverse else (front, back)


def _hex(color: Color | None, default: str) -> str:
    return color.get_truecolor().hex if color is not None and not color.is_default else default


def _runs(segments: list[Segment]) -> Iterator[Run]:
    column = 0
    for segment in segments:
        if segment.text and not segment.control:
            yield Run(column, segment.text, segment.style or Style())
            column += cell_len(segment.text)


def screen_rows(app: App[Any]) -> list[list[Segment]]:
    """The screen with its dialogs, row by row."""
    return [list(strip) for strip in app.screen._compositor.render_strips()][: app.size.height]


def screen_picture(app: App[Any]) -> str:
    """SVG, the same text for the same screen."""
    columns, rows = app.size
    width, height = columns * CELL_WIDTH + 2 * MARGIN, rows * CELL_HEIGHT + 2 * MARGIN
    lines = [list(_runs(segments)) for segments in screen_rows(app)]
    base = lines[0][0].colors[1] if lines and lines[0] else "#000000"
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" width="{width:g}">',
        f"<style>{_STYLE}</style>",
        f'<rect width="{width:g}" height="{height:g}" rx="6" fill="{base}"/>',
    ]
    for number, runs in enumerate(lines):
        top = MARGIN + number * CELL_HEIGHT
        for back, group in groupby(runs, key=lambda run: run.colors[1]):
            same = list(group)
            if back != base:
                cells = sum(cell_len(run.text) for run in same)
                parts.append(
                    f'<rect x="{_x(same[0].column)}" y="{top}" width="{cells * CELL_WIDTH:g}" height="{CELL_HEIGHT}"'
                    f' fill="{back}"/>'
                )
        for run in runs:
            parts += _texts(run, top + CELL_HEIGHT - 4)
    return "\n".join([*parts, "</svg>\n"])


def _x(column: int) -> str:
    return f"{MARGIN + column * CELL_WIDTH:.4g}"


def _texts(run: Run, baseline: int) -> Iterator[str]:
    """The words of `run`, those with several blanks between them each at its own place, whatever the font."""
    marks = ' font-weight="bold"' if run.style.bold else ""
    marks += ' text-decoration="underline"' if run.style.underline else ""
    for words in _WORDS.finditer(run.text):
        column, length = run.column + cell_len(run.text[: words.start()]), cell_len(words[0]) * CELL_WIDTH
        yield (
            f'<text x="{_x(column)}" y="{baseline}" fill="{run.colors[0]}"{marks} textLength="{length:.4g}"'
            f' lengthAdjust="spacingAndGlyphs">{escape(words[0], quote=False)}</text>'
        )
