"""Tokens in rows with a number below each, for the screens that show a text token by token."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from rich.cells import cell_len

from core.sample.inspect_protocol import TokenInfo
from llmtui.view.inspect_tables import MASKED
from llmtui.view.lines import Line, cell, cut
from llmtui.view.sanitize import shown

_LABEL_CELLS = 18


class NumberedToken(NamedTuple):
    """A token, what is below it, and its role."""

    label: str
    below: str
    role: str = ""


def token_chip(token: TokenInfo, cells: int = _LABEL_CELLS) -> str:
    """A token without quotes, in at most `cells` cells: spaces as dots, bytes that are no characters in hexadecimal."""
    match token.kind:
        case "hidden":
            return MASKED
        case "gap":
            return "(unused)"
        case "bytes":
            return cut(f"<{token.bytes}>", cells)
        case _:
            return cut(shown(token.text).replace(" ", "·") + "…" * token.cut, cells)


def token_strip(tokens: Sequence[TokenInfo], cursor: int, cells: int) -> Line:
    """The tokens around number `cursor`, from 0, which is marked, in one line."""
    chips = [token_chip(token) for token in tokens]
    if not chips:
        return []
    cursor = max(0, min(cursor, len(chips) - 1))
    first = last = cursor
    used = cell_len(chips[cursor]) + 5  # an ellipsis and a space at each end, and one between
    # two thirds of the room for what is before the cursor
    while first > 0 and used + cell_len(chips[first - 1]) + 1 <= cells * 2 // 3:
        first -= 1
        used += cell_len(chips[first]) + 1
    while last + 1 < len(chips) and used + cell_len(chips[last + 1]) + 1 <= cells:
        last += 1
        used += cell_len(chips[last]) + 1
    while first > 0 and used + cell_len(chips[first - 1]) + 1 <= cells:
        first -= 1
        used += cell_len(chips[first]) + 1
    line: Line = [("… ", "dim")] if first else []
    for index in range(first, last + 1):
        line += [(chips[index], "cursor" if index == cursor else "" if index < cursor else "dim"), (" ", "")]
    return [*line, ("…", "dim")] if last + 1 < len(chips) else line


def token_rows(tokens: Sequence[NumberedToken], cells: int, rows: int, cursor: int = -1) -> list[Line]:
    """The tokens in columns, two lines for each row of them, around number `cursor`, or else at the end.

    cells, rows: the room. The start of a text that does not fit is left out.
    """
    lines: list[list[int]] = [[]]
    widths = [min(cells, max(cell_len(token.label), cell_len(token.below))) for token in tokens]
    used = 0
    for index, width in enumerate(widths):
        if lines[-1] and used + width > cells:
            lines.append([])
            used = 0
        lines[-1].append(index)
        used += width + 1
    fit = max(1, rows // 2)
    at = next((number for number, line in enumerate(lines) if cursor in line), len(lines) - 1)
    start = max(0, min(at - fit // 2, len(lines) - fit))
    drawn: list[Line] = []
    for line in lines[start : start + fit]:
        above: Line = []
        below: Line = []
        for index in line:
            token = tokens[index]
            marked = index == cursor
            above += [(cell(token.label, widths[index]), "cursor" if marked else token.role), (" ", "")]
            below += [(cell(token.below, widths[index]), "bold" if marked else "dim"), (" ", "")]
        drawn += [above, below]
    return drawn
