"""Where the command line writes: data to standard output, everything said about it to standard error."""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar, TextIO

import msgspec

from llmtui.view.sanitize import shown, visible
from llmtui.view.table import table

SCHEMA = 1
"""Version of what `--json` prints; each command's goes up when a field of it changes its meaning or disappears."""

LEAST = 24
"""Columns that a text needs beside its label to be wrapped there: narrower, a word a line is hard to read."""


def out(text: str, end: str = "\n", *, indent: int = 0) -> None:
    """Write data. A terminal gets it sanitised; a pipe or file gets it as it is.

    indent: columns of the label that a line begins with; a terminal gets what does not fit beside it wrapped there.
    """
    sys.stdout.write((_hung(visible(text), indent, columns()) if sys.stdout.isatty() else text) + end)
    sys.stdout.flush()


def columns(stream: TextIO | None = None) -> int:
    """How wide the terminal behind `stream` (standard output) is; a million where it is none."""
    try:
        return os.get_terminal_size((stream or sys.stdout).fileno()).columns or 80
    except (OSError, ValueError):
        return 1_000_000


def _hung(text: str, indent: int, cells: int) -> str:
    """Every line of `text` broken at spaces to `cells` cells, its rest behind `indent` spaces, if any."""
    if not indent or cells - indent < LEAST or all(len(line) <= cells // 2 for line in text.split("\n")):
        return text
    from llmtui.view.lines import wrap  # needs rich, which most of the command line does without

    end = "\n" + " " * indent
    return "\n".join(line[:indent] + end.join(wrap(line[indent:], cells - indent)) for line in text.split("\n"))


def out_json(record: Any, schema: int = SCHEMA) -> None:
    """Write one object as one line of ASCII, numbers that JSON does not know as null.

    schema: of a command whose fields have changed since.
    """
    try:
        encoded = msgspec.json.encode(record)
    except UnicodeEncodeError:  # a path with bytes that are no UTF-8, which Python holds as halves of characters
        encoded = msgspec.json.encode(_legible(msgspec.to_builtins(record, str_keys=True)))
    plain = msgspec.json.decode(encoded)
    sys.stdout.write(json.dumps({"schema": schema, **plain}) + "\n")
    sys.stdout.flush()


def _legible(value: Any) -> Any:
    """`value` with U+FFFD for bytes that are no UTF-8."""
    match value:
        case str():
            return re.sub("[\ud800-\udfff]", "\ufffd", value)
        case dict():
            return {_legible(key): _legible(each) for key, each in value.items()}
        case list() | tuple():
            return [_legible(each) for each in value]
    return value


def say(text: str, *, indent: int = 0) -> None:
    """Tell the person something; always sanitised, line breaks kept. Raises BrokenPipeError where nobody reads.

    indent: as with `out`.
    """
    try:
        sys.stderr.write(_hung(visible(text), indent, columns(sys.stderr)) + "\n")
        sys.stderr.flush()
    except BrokenPipeError:
        raise
    except OSError:  # a full disk behind it: there is nowhere left to say so
        pass


def complain(text: str) -> None:
    """Say what is wrong: sentences whose lines after the first are indented as `LlmtuiError.sentence` does it."""
    say(f"llmtui: {text}", indent=len("llmtui: "))


_STYLES = {"before": ("[-", "-]", "31"), "after": ("{+", "+}", "32"), "…": (" … ", " … ", "2")}


def out_spans(spans: Iterable[tuple[str, str]]) -> None:
    """Write the spans of `llmtui.view.word_diff`, marked by signs, and by colours where a terminal may have them."""
    colours = _colours()
    pieces = []
    for kind, text in spans:
        if kind == "both":
            pieces.append(visible(text))
            continue
        before, after, colour = _STYLES[kind]
        marked = f"{before}{shown(text, sys.maxsize)}{after}"
        pieces.append(_coloured(marked, colour if colours else ""))
    sys.stdout.write("".join(pieces).rstrip("\n") + "\n")
    sys.stdout.flush()


def _colours() -> bool:
    """Whether standard output is a terminal that may have them."""
    return can_redraw() and not os.environ.get("NO_COLOR")


def can_redraw() -> bool:
    """Whether standard output is a terminal on which lines can be written over."""
    return sys.stdout.isatty() and os.environ.get("TERM", "dumb") != "dumb"


class Redrawn:
    """Lines at the end of a terminal that are written over, as many of the last as it has room for."""

    COLOURS: ClassVar[dict[str, str]] = {"dim": "2", "accent": "36"}

    def __init__(self) -> None:
        self._rows = 0

    @property
    def stands(self) -> bool:
        """Whether there are any, in the last of which the cursor stands."""
        return self._rows > 0

    def show(self, spans: Sequence[tuple[str, str]]) -> None:
        """Write these instead: spans of text that may be shown, and their roles."""
        from llmtui.view.lines import wrapped  # needs rich, which the rest of the command line does without

        columns, rows = shutil.get_terminal_size()
        # one column is left free: some terminals go to the next line when the last one is written
        lines = wrapped(list(spans), columns - 1)[-max(1, rows - 1) :]
        self.clear()
        self._rows = len(lines)
        colours = self.COLOURS if _colours() else {}
        written = ("".join(_coloured(text, colours.get(role, "")) for text, role in line) for line in lines)
        sys.stdout.write("\n".join(written))
        sys.stdout.flush()

    def clear(self) -> None:
        """Take them away, so that something else can stand there."""
        up = f"\x1b[{self._rows - 1}A" if self._rows > 1 else ""
        sys.stdout.write(f"{up}\r\x1b[J" if self._rows else "")
        self._rows = 0


def _coloured(text: str, colour: str) -> str:
    return f"\x1b[{colour}m{text}\x1b[m" if colour else text


def out_table(rows: list[tuple[str, ...]]) -> None:
    """Write a table. On a terminal that it is too wide for, its last column is wrapped: beside the others where there
    is room, else below them."""
    text, cells = table(rows), columns()
    if all(len(line) <= cells for line in text.split("\n")):
        out(text)
        return
    edge = table([(*row[:-1], "|") for row in rows]).index("|")
    if cells - edge >= LEAST:
        for line in text.split("\n"):
            out(line, indent=edge)
        return
    for line, row in zip(table([row[:-1] for row in rows]).split("\n"), rows, strict=True):
        out(line)
        if row[-1] and row is not rows[0]:
            out("    " + shown(row[-1]), indent=4)


def can_draw() -> bool:
    """Whether the workbench has a terminal to draw on and to read keys from."""
    here = sys.stdin is not None and sys.stdin.isatty() and sys.stdout.isatty()  # None: closed
    return here and os.environ.get("TERM", "dumb") != "dumb"
