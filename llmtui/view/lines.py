"""Lines of styled text: lists of (text, role) spans, measured in terminal cells.

Not markup: brackets in a run's name stay brackets. A role names a colour of the theme (see `ROLES` in the pane widget).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import accumulate

from rich.cells import cell_len, chop_cells, set_cell_size

Span = tuple[str, str]
Line = list[Span]


def width(line: Line) -> int:
    """Cells that `line` takes."""
    return sum([cell_len(text) for text, _ in line])


def plain(lines: Iterable[Line]) -> str:
    """The lines as text, without their styles and without blanks at their ends."""
    return "\n".join("".join(text for text, _ in line).rstrip() for line in lines).strip("\n")


def fits(line: Line, cells: int) -> bool:
    """Whether `line` fits into `cells` cells."""
    return width(line) <= cells


NEAR = 10
"""Cells within which the end of a word is preferred to a longer text that ends inside one."""


def cut(text: str, cells: int) -> str:
    """`text` truncated to at most `cells` cells with an ellipsis, at the end of a word if one is near."""
    if cell_len(text) <= cells:
        return text
    if cells <= 0:
        return ""
    head = set_cell_size(text, cells - 1)
    if text[len(head) : len(head) + 1].strip():
        space = head.rstrip().rfind(" ")
        if space > max(cells // 2, len(head) - NEAR):
            head = head[:space]
    return head.rstrip(" ,;:·") + "…"


def cut_start(text: str, cells: int) -> str:
    """`text` truncated at its start to at most `cells` cells, as suits paths: `…/books/text.txt`."""
    if cell_len(text) <= cells:
        return text
    start = len(text)
    while start and cell_len(text[start - 1 :]) < cells:
        start -= 1
    return "…" + text[start:] if cells > 0 else ""


def cell(text: str, cells: int, *, right: bool = False) -> str:
    """`text` in exactly `cells` cells: padded, or truncated with an ellipsis."""
    text = cut(text, cells)
    padding = " " * (cells - cell_len(text))
    return padding + text if right else text + padding


def clip(line: Line, cells: int) -> Line:
    """`line` truncated to at most `cells` cells as by `cut`."""
    if width(line) <= cells:
        return line
    whole = "".join(text for text, _ in line)
    kept = set_cell_size(whole, cells) if cell_len(whole.rstrip()) <= cells else cut(whole, cells)
    clipped: Line = []
    for text, role in line:
        part, kept = kept[: len(text)], kept[len(text) :]
        if part:
            clipped.append((part, role))
    return clipped


def spread(left: Line, right: Line, cells: int) -> Line:
    """`left` at the left and `right` at the right end of `cells` cells; `left` is truncated if both do not fit."""
    left = clip(left, max(0, cells - width(right) - 1))
    gap = max(1, cells - width(left) - width(right))
    return clip([*left, (" " * gap, ""), *right], cells)


def joined(parts: Iterable[Line], cells: int, gap: str = "  ") -> Line:
    """The parts that fit whole into `cells` cells, in order, with `gap` between them. The first is truncated if
    needed."""
    line: Line = []
    for part in parts:
        if not width(part):
            continue
        longer = [*line, (gap, ""), *part] if line else list(part)
        if line and width(longer) > cells:
            continue
        line = longer
    return clip(line, cells)


def table(rows: Iterable[tuple[str, str]], cells: int) -> list[Line]:
    """Two columns: names (dim) and values."""
    rows = list(rows)
    names = max((cell_len(name) for name, _ in rows), default=0) + 1
    return [clip([(cell(name, names), "dim"), (value, "")], cells) for name, value in rows]


def bar(share: float, cells: int, role: str = "bar") -> Line:
    """A progress bar of `cells` cells, filled to `share` (0 to 1) in steps of half a cell."""
    halves = round(min(1.0, max(0.0, share)) * cells * 2)
    filled = "━" * (halves // 2) + ("╸" if halves % 2 else "")
    return [(filled, role), ("─" * (cells - len(filled)), "frame")]


def sparkline(shares: Iterable[float]) -> str:
    """A bar of one cell for each of `shares` (0 to 1)."""
    return "".join("▁▂▃▄▅▆▇█"[round(7 * min(1.0, max(0.0, share)))] for share in shares)


def wrap_with_offsets(text: str, cells: int) -> Iterator[tuple[int, str]]:
    """The lines of `text`, each of at most `cells` cells, with their offsets in `text`.

    Lines are broken at spaces if possible; line breaks in `text` are kept.
    """
    cells, offset = max(1, cells), 0
    for paragraph in text.split("\n"):
        at = 0
        while cell_len(part := _lookahead(paragraph, at, cells)) > cells:
            head = next(filter(None, chop_cells(part, cells)))  # the first is empty where a character is too wide
            space = head.rfind(" ")
            if space > cells // 2:
                head = head[: space + 1]
            yield offset + at, head.rstrip()
            at += len(head)
        yield offset + at, part
        offset += len(paragraph) + 1


def _lookahead(paragraph: str, at: int, cells: int) -> str:
    """The text from `at` on that is needed to find the end of a line: wider than `cells`, or all of the rest."""
    most = 4 * cells
    while at + most < len(paragraph) and cell_len(paragraph[at : at + most]) <= cells:
        most *= 2  # characters that take no cell
    return paragraph[at : at + most]


def wrapped(spans: Line, cells: int) -> list[Line]:
    """The spans in sequence, wrapped to lines of at most `cells` cells."""
    bounds = list(accumulate((len(text) for text, _ in spans), initial=0))
    lines: list[Line] = []
    for offset, part in wrap_with_offsets("".join(text for text, _ in spans), cells):
        parts = [
            (part[max(0, begin - offset) : max(0, end - offset)], role)
            for begin, end, (_, role) in zip(bounds, bounds[1:], spans, strict=False)
        ]
        lines.append([(text, role) for text, role in parts if text])
    return lines


def hanging(spans: Line, head: Span, cells: int) -> list[Line]:
    """The spans wrapped with a hanging indent: `head` precedes the first line, the others are indented by its
    width."""
    indent = cell_len(head[0])
    lines = wrapped(spans, cells - indent)
    return [[head if number == 0 else (" " * indent, ""), *line] for number, line in enumerate(lines)]


def wrap(text: str, cells: int) -> Iterator[str]:
    """The lines of `text`, each of at most `cells` cells."""
    return (line for _, line in wrap_with_offsets(text, cells))
