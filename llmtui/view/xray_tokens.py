"""Tokens in rows with a number below each, for the screens that show a text token by token."""

from __future__ import annotations

from collections.abc import Sequence

from rich.cells import cell_len

from core.sample.inspect_protocol import TokenInfo
from llmtui.view.lines import Line, cut
from llmtui.view.token_grid import SPACE, GridToken, draw, layout, token_text

_LABEL_CELLS = 18


def token_chip(token: TokenInfo, cells: int = _LABEL_CELLS) -> str:
    """A token without quotes, in at most `cells` cells: as from `token_text`, but spaces as dots."""
    return cut(token_text(token).replace(" ", SPACE), cells)


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


def token_rows(tokens: Sequence[GridToken], cells: int, rows: int, cursor: int = -1) -> list[Line]:
    """The tokens as a grid with numbers, around number `cursor`, or else its end.

    cells, rows: the room. The start of a text that does not fit is left out.
    """
    lines = layout(tokens, cells, numbers=True)
    fit = max(1, rows // 2)
    at = next((number for number, line in enumerate(lines) if line.first <= cursor < line.end), len(lines) - 1)
    start = max(0, min(at - fit // 2, len(lines) - fit))
    return [
        row for line in lines[start : start + fit] for row in draw(tokens, line, cells, numbers=True, cursor=cursor)
    ]
