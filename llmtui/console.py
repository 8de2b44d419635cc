"""Where the command line writes: data to standard output, everything said about it to standard error."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable
from typing import Any

import msgspec

from llmtui.shown import shown

SCHEMA = 1
"""Version of what `--json` prints; goes up when a field changes its meaning or disappears."""


def out(text: str, end: str = "\n") -> None:
    """Write data. A terminal gets it sanitised; a pipe or file gets it as it is."""
    sys.stdout.write((visible(text) if sys.stdout.isatty() else text) + end)
    sys.stdout.flush()


def out_json(record: Any) -> None:
    """Write one object as one line of ASCII, numbers that JSON does not know as null."""
    plain = msgspec.json.decode(msgspec.json.encode(record))
    sys.stdout.write(json.dumps({"schema": SCHEMA, **plain}) + "\n")
    sys.stdout.flush()


def say(text: str) -> None:
    """Tell the person something; always sanitised, line breaks kept."""
    sys.stderr.write(visible(text) + "\n")
    sys.stderr.flush()


def visible(text: str) -> str:
    """`text` of any length with its lines kept and nothing in it that steers a terminal."""
    return shown(text, sys.maxsize, lines=True)


_STYLES = {"before": ("[-", "-]", "31"), "after": ("{+", "+}", "32"), "…": (" … ", " … ", "2")}


def out_spans(spans: Iterable[tuple[str, str]]) -> None:
    """Write the spans of `llmtui.differences`, marked by signs, and by colours where a terminal may have them."""
    colours = sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    pieces = []
    for kind, text in spans:
        if kind == "both":
            pieces.append(visible(text))
            continue
        before, after, colour = _STYLES[kind]
        marked = f"{before}{shown(text, sys.maxsize)}{after}"
        pieces.append(f"\x1b[{colour}m{marked}\x1b[m" if colours else marked)
    sys.stdout.write("".join(pieces).rstrip("\n") + "\n")
    sys.stdout.flush()


def table(rows: list[tuple[str, ...]]) -> str:
    """Columns padded to their widest cell, two spaces apart; cells are sanitised, which makes them one line each."""
    cells = [[shown(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells
    )


def can_draw() -> bool:
    """Whether the workbench has a terminal to draw on and to read keys from."""
    return sys.stdin.isatty() and sys.stdout.isatty() and os.environ.get("TERM", "dumb") != "dumb"
