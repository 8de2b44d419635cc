"""Text in ASCII alone, for terminals and locales without Unicode: the same number of cells, character by character."""

from __future__ import annotations

import unicodedata

from rich.cells import cell_len, set_cell_size

_GLYPHS = {
    # states, marks, pointers
    "●": "*", "○": "o", "◌": "o", "✓": "+", "✗": "x", "■": "#", "‖": "=", "•": "@", "·": ".", "▸": ">", "◆": "@",
    "▾": "v", "★": "*", "☆": "*",
    "✎": "n", "↕": "!",
    "▲": "^", "△": "^", "▼": "v", "▽": "v", "◀": "<", "◁": "<", "▶": ">", "▷": ">", "⊕": "+", "◇": "%", "□": "%",
    "←": "<", "→": ">", "↑": "^", "↓": "v", "↵": "/", "⌫": "<", "⋯": ".", "…": "~",
    # what stands for control characters
    **dict.fromkeys(map(chr, range(0x2400, 0x2422)), "^"), "␊": "/",
    # figures and formulas
    "×": "x", "±": "~", "−": "-", "–": "-", "—": "-", "≈": "~", "≤": "<", "≥": ">", "√": "V", "Φ": "F", "ᵀ": "T",
    "°": "o", "“": '"', "”": '"', "’": "'", "‘": "'", "‹": "<", "›": ">",
    # bars: filled ones differ from the line they are on
    "━": "=", "╸": "=", "╺": "=", "▌": "|", "▐": "|", "▀": '"', "▔": '"',
    "░": ".", "▒": ":", "▓": "%", "█": "#",
    **dict(zip("▏▎▍▋▊▉", "||||##", strict=True)),
    **dict(zip("▁▂▃▄▅▆▇", "__..::#", strict=True)),
    # frames
    **dict.fromkeys("─╌┄┈╴╶═", "-"),
    **dict.fromkeys("│╎┆┊┃║", "|"),
    **dict.fromkeys("┌┐└┘├┤┬┴┼╭╮╯╰┏┓┗┛", "+"),
}  # fmt: skip

_BRAILLE = range(0x2800, 0x2900)
_SIDES = ((0x01, 0x02, 0x04, 0x40), (0x08, 0x10, 0x20, 0x80))
"""Bits of the dots in the left and the right column of a braille cell, from the top."""


def to_ascii(text: str) -> str:
    """`text` with every other character replaced by as many ASCII ones as it takes cells."""
    if text.isascii():
        return text
    # where characters join into one glyph, such as an emoji of several, they take fewer cells than each by itself
    return set_cell_size(text.translate(_TABLE), cell_len(text))


def _replacement(character: str) -> str:
    if character in _GLYPHS:
        return _GLYPHS[character]
    if ord(character) in _BRAILLE:
        return _stroke(ord(character) - _BRAILLE.start)
    cells = cell_len(character)
    plain = unicodedata.normalize("NFKD", character).encode("ascii", "ignore").decode()
    return plain if plain.isprintable() and len(plain) == cells else "?" * cells


def _stroke(bits: int) -> str:
    """The character most like the dots of a braille cell."""
    left, right = ([row for row, bit in enumerate(side) if bits & bit] for side in _SIDES)
    if len(left) + len(right) >= 6:
        return "#"
    if left and right:
        slope = sum(left) / len(left) - sum(right) / len(right)
        if abs(slope) >= 1.5:
            return "/" if slope > 0 else "\\"
    rows = {*left, *right}
    if not rows:
        return " "
    if max(rows) - min(rows) >= 2:
        return "|" if not (left and right) else ":"
    height = (max(rows) + min(rows)) / 2
    if height < 1:
        return '"' if left and right else "'"
    return "-" if height <= 2 else "_" if left and right else "."


class _Table(dict[int, str]):
    def __missing__(self, code: int) -> str:
        self[code] = _replacement(chr(code)) if code > 127 else chr(code)
        return self[code]


_TABLE = _Table()
