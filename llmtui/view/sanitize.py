"""Sanitising of untrusted text (data, model output, names, exceptions) before it is shown.

Control characters and characters that reorder text are replaced by visible symbols. As a second line of defence, the
workbench removes them from its output (`llmtui.tui.output_filter`).
"""

from __future__ import annotations

import sys

_REMOVED_BY_FILTER = (
    *range(0x20), 0x7F, *range(0x80, 0xA0), 0x061C, 0x200E, 0x200F, *range(0x202A, 0x202F), 0x2028, 0x2029,
    *range(0x2066, 0x206A), *range(0xD800, 0xE000),
)  # fmt: skip
"""C0, DEL, C1, bidirectional controls, line separators, lone surrogates: must not reach a terminal."""

DANGEROUS = dict.fromkeys(_REMOVED_BY_FILTER)
"""Translation table that removes them."""


def _symbol(code: int) -> str:
    if code < 0x20:
        return chr(0x2400 + code)
    return "␡" if code == 0x7F else f"<U+{code:04X}>"


_SYMBOLS = {code: _symbol(code) for code in _REMOVED_BY_FILTER}
_SYMBOLS_KEEPING_LINES = {**_SYMBOLS, 0x0A: "\n", 0x09: "    "}


def shown(text: object, limit: int = 4_000, *, lines: bool = False) -> str:
    """`text` sanitised: dangerous characters replaced by symbols, truncated to `limit` characters with an ellipsis.

    lines: keep line breaks and expand tabs; by default they are replaced by symbols too.
    """
    raw = str(text)
    if len(raw) > limit:
        raw = raw[: limit - 1] + "…"
    return raw.translate(_SYMBOLS_KEEPING_LINES if lines else _SYMBOLS)


def visible(text: str) -> str:
    """`text` of any length sanitised, with line breaks kept."""
    return shown(text, sys.maxsize, lines=True)
