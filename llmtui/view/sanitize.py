"""The one function every string from outside passes before a person sees it: data, models, names, exceptions.

What would steer the terminal or reorder the text becomes a visible picture. The workbench's line filter
(`llmtui.tui.output_filter`) stands behind it, for whatever slipped past.
"""

from __future__ import annotations

import sys

_REMOVED_BY_FILTER = (
    *range(0x20), 0x7F, *range(0x80, 0xA0), 0x061C, 0x200E, 0x200F, *range(0x202A, 0x202F), 0x2028, 0x2029,
    *range(0x2066, 0x206A), *range(0xD800, 0xE000),
)  # fmt: skip
"""C0, DEL, C1, marks that reorder text or end lines, lone surrogates: nothing of this may reach a terminal."""

DANGEROUS = dict.fromkeys(_REMOVED_BY_FILTER)
"""Translation table that removes them."""


def _picture(code: int) -> str:
    if code < 0x20:
        return chr(0x2400 + code)
    return "␡" if code == 0x7F else f"<U+{code:04X}>"


_PICTURES = {code: _picture(code) for code in _REMOVED_BY_FILTER}
_LINES = {**_PICTURES, 0x0A: "\n", 0x09: "    "}


def shown(text: object, limit: int = 4_000, *, lines: bool = False) -> str:
    """`text` as it may be shown: dangerous characters as pictures, at most `limit` characters and an ellipsis.

    lines: keep line breaks and expand tabs; without it they are pictures too.
    """
    raw = str(text)
    if len(raw) > limit:
        raw = raw[: limit - 1] + "…"
    return raw.translate(_LINES if lines else _PICTURES)


def visible(text: str) -> str:
    """`text` of any length with its lines kept and nothing in it that steers a terminal."""
    return shown(text, sys.maxsize, lines=True)
