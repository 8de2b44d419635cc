"""Sanitising of untrusted text (data, model output, names, exceptions) before it is shown.

Control characters, characters that reorder text, and invisible ones that no language needs are replaced by visible
symbols. Characters that merge others into one glyph are left out, because terminals differ in its width. Combining
marks, and the zero-width characters of Persian (U+200C), Thai and Khmer (U+200B) take no cell in any terminal: they
stay.
As a second line of defence, the workbench does the same to its output (`llmtui.tui.output_filter`).
"""

from __future__ import annotations

import sys
from pathlib import Path

_REMOVED_BY_FILTER = (
    *range(0x20), 0x7F, *range(0x80, 0xA0), 0x061C, 0x200E, 0x200F, *range(0x202A, 0x202F), 0x2028, 0x2029,
    *range(0x2066, 0x206A), *range(0xD800, 0xE000),
    0x180E, *range(0x2060, 0x2066), *range(0x206A, 0x2070), 0x3164, 0xFEFF, 0xFFA0, *range(0xFFF9, 0xFFFC),
    *range(0x1D173, 0x1D17B), *range(0xE0000, 0xE0080),
)  # fmt: skip
"""C0, DEL, C1, bidirectional controls, line separators, lone surrogates: must not reach a terminal. Then invisible
characters, with which text hides in text: word joiner, byte order mark, fillers, annotations, tags."""

JOINERS = (0x200D, 0xFE0E, 0xFE0F, *range(0x1F3FB, 0x1F400))
"""Zero-width joiner, variation selectors of emoji, skin tones. With them a heart takes 1 cell or 2, a thumb 2 or 4, a
family 2 or 6: other numbers in xterm, VTE and tmux than in kitty and in Rich, and the rest of the row is shifted."""

SOFT_HYPHEN = 0xAD
"""Takes a cell in Rich and xterm, none in others."""

DANGEROUS = dict.fromkeys((*_REMOVED_BY_FILTER, *JOINERS, SOFT_HYPHEN))
"""What must not reach a terminal, as a translation table that removes it."""


def _symbol(code: int) -> str:
    if code < 0x20:
        return chr(0x2400 + code)
    return "␡" if code == 0x7F else f"<U+{code:04X}>"


_SYMBOLS = {code: _symbol(code) for code in (*_REMOVED_BY_FILTER, SOFT_HYPHEN)} | dict.fromkeys(JOINERS, "")
_SYMBOLS_KEEPING_LINES = {**_SYMBOLS, 0x0A: "\n", 0x09: "    "}


def shown(text: object, limit: int = 4_000, *, lines: bool = False) -> str:
    """`text` sanitised: dangerous characters replaced by symbols, truncated to `limit` characters with an ellipsis.

    lines: keep line breaks and expand tabs; by default they are replaced by symbols too.
    """
    raw = str(text)
    if len(raw) > limit:
        raw = raw[: limit - 1] + "…"
    return raw.translate(_SYMBOLS_KEEPING_LINES if lines else _SYMBOLS)


def shown_path(path: str | Path) -> str:
    """`path` sanitised, with `~` for the user's home directory."""
    absolute, home = Path(path), Path.home()
    return shown(f"~/{absolute.relative_to(home)}" if absolute.is_relative_to(home) else absolute)


def visible(text: str) -> str:
    """`text` of any length sanitised, with line breaks kept."""
    return shown(text, sys.maxsize, lines=True)
