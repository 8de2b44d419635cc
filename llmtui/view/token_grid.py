"""Tokens as a grid: each with its text above and a number below, or as running text; and where each of them is.

Every token shows exactly which characters and bytes it has: control characters as their symbols, invisible ones as
their code, bytes that are no whole character in hexadecimal.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from rich.cells import cell_len

from core.plural import plural
from core.sample.inspect_protocol import TokenInfo
from core.sample.token_protocol import TokenizedText
from llmtui.view.inspect_tables import MASKED
from llmtui.view.lines import Line, cell, cut
from llmtui.view.sanitize import shown

SPACE = "·"
"""A space of a token with a number below."""


class GridToken(NamedTuple):
    """One token of a grid."""

    label: str
    """As from `token_text`."""
    role: str = ""
    below: str = ""
    """A number, shown below the label."""
    detail: str = ""
    """Everything about it, for the line about the token under the cursor."""
    rule: str = ""
    """The title of a rule after it, where a document ends; empty: none."""


class GridLine(NamedTuple):
    """The tokens from number `first` to before number `end`."""

    first: int
    end: int
    starts: tuple[int, ...]
    """The cell where each of them begins."""
    rule: str


def token_text(token: TokenInfo) -> str:
    """What a token stands for, every character visible but spaces."""
    if token.kind == "hidden":
        return MASKED
    if token.kind == "gap":
        return "(unused)"
    text = bytes.fromhex(token.bytes).decode("utf-8", "surrogateescape")
    visible = "".join(map(_visible, text)) + "…" * token.cut
    # a character without width of its own would join the token before it
    return f"<U+{ord(text[0]):04X}>{visible[1:]}" if visible and not cell_len(visible[0]) else visible


def _visible(character: str) -> str:
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:  # a byte that is no part of a whole character
        return f"<{code - 0xDC00:02X}>"
    symbol = shown(character)
    if symbol == character and character.isprintable():
        return character
    return symbol if symbol not in ("", character) else f"<U+{code:04X}>"


def hex_bytes(token: TokenInfo) -> str:
    """The bytes of a token, such as `c3 a9`."""
    pairs = " ".join(token.bytes[start : start + 2] for start in range(0, len(token.bytes), 2))
    return pairs + " …" * token.cut


def layout(tokens: Sequence[GridToken], cells: int, *, numbers: bool) -> list[GridLine]:
    """The lines that `tokens` fill at a width of `cells`: a new one after a line feed, a rule, or when it is full.

    numbers: whether each token has a number below and a separator after it; without, they are running text.
    """
    lines: list[GridLine] = []
    starts: list[int] = []
    first = at = 0
    for number, token in enumerate(tokens):
        size = min(cells, token_cells(token, numbers=numbers))
        if starts and at + size > cells:
            lines.append(GridLine(first, number, tuple(starts), ""))
            first, starts, at = number, [], 0
        starts.append(at)
        at += size
        if token.rule or "␊" in token.label:
            lines.append(GridLine(first, number + 1, tuple(starts), token.rule))
            first, starts, at = number + 1, [], 0
    if starts:
        lines.append(GridLine(first, len(tokens), tuple(starts), ""))
    return lines


def token_cells(token: GridToken, *, numbers: bool) -> int:
    """Cells that a token takes, with its separator."""
    return max(cell_len(token.label), cell_len(token.below)) + 1 if numbers else cell_len(token.label)


def rows_of(line: GridLine, *, numbers: bool) -> int:
    """Rows that a line takes."""
    return (2 if numbers else 1) + bool(line.rule)


def draw(tokens: Sequence[GridToken], line: GridLine, cells: int, *, numbers: bool, cursor: int) -> list[Line]:
    """The rows of one line. cursor: number of the token under the cursor; -1: none of them."""
    above: Line = []
    below: Line = []
    for number in range(line.first, line.end):
        token = tokens[number]
        role = "cursor" if number == cursor else token.role
        size = min(cells, token_cells(token, numbers=numbers))
        if numbers:
            # blanks are padding there
            above += [(cell(token.label.replace(" ", SPACE), size - 1), role), ("│", "frame")]
            below.append((cell(token.below, size), "bold" if number == cursor else "dim"))
        else:
            above.append((cut(token.label, size), role))
    rows = [above, below] if numbers else [above]
    if line.rule:
        title = cut(f"─ {line.rule} ", cells)
        rows.append([(title + "─" * (cells - cell_len(title)), "dim")])
    return rows


def moved(lines: Sequence[GridLine], token: int, rows: int) -> int:
    """The token `rows` lines below `token` (above if negative), at about the same cell."""
    at = next((number for number, line in enumerate(lines) if token < line.end), len(lines) - 1)
    target = lines[max(0, min(len(lines) - 1, at + rows))]
    start = lines[at].starts[token - lines[at].first]
    nearest = min(range(len(target.starts)), key=lambda index: abs(target.starts[index] - start))
    return target.first + nearest


def text_grid(text: TokenizedText) -> list[GridToken]:
    """The tokens of a text with their ids, in two styles in turn."""
    infos = {token.id: token for token in text.tokens}
    return [
        GridToken(
            label=token_text(infos[token]),
            role="warn" if infos[token].kind == "bytes" else ("", "train")[number % 2],
            below=str(token),
            detail=_described(infos[token], number, len(text.ids)),
        )
        for number, token in enumerate(text.ids)
    ]


def _described(info: TokenInfo, number: int, count: int) -> str:
    """`token 3 of 14 · id 301 · 2 bytes, c3 9f`."""
    size = plural(len(info.bytes) // 2, "byte")
    part = " · part of a character" if info.kind == "bytes" else ""
    return f"token {number + 1:,} of {count:,} · id {info.id:,} · {size}, {hex_bytes(info)}{part}"
