"""Output of the command line: data to standard output, messages to standard error."""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar, TextIO

import msgspec

from core.errors import LlmtuiError
from llmtui.view.sanitize import shown, visible
from llmtui.view.table import table

SCHEMA = 1
"""Default version of the `--json` output; a command whose fields change or disappear has a higher one."""

MIN_WRAP_WIDTH = 24
"""Columns to the right of an indent that text needs to be wrapped there."""


class OutputError(LlmtuiError):
    """Standard output takes no more, such as a file on a full disk."""

    doing = "write the result"


def print_output(text: str, end: str = "\n", *, indent: int = 0) -> None:
    """Print data to standard output: sanitised on a terminal, unchanged to a pipe or file.

    indent: columns of the label at the beginning of the line; on a terminal, text is wrapped to the right of it.
    """
    _write((_wrap_indented(visible(text), indent, columns()) if sys.stdout.isatty() else text) + end)


def _write(text: str) -> None:
    """Write `text` to standard output now. Raises BrokenPipeError, OutputError."""
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        raise OutputError((error.strerror or str(error)).lower(), where="standard output") from None


def columns(stream: TextIO | None = None) -> int:
    """Width of the terminal of `stream` (standard output by default); a million if it is not a terminal."""
    try:
        return os.get_terminal_size((stream or sys.stdout).fileno()).columns or 80
    except (OSError, ValueError):
        return 1_000_000


def _wrap_indented(text: str, indent: int, cells: int) -> str:
    """Wrap every line of `text` to `cells` cells, with `indent` spaces before its continuations."""
    if not indent or cells - indent < MIN_WRAP_WIDTH or all(len(line) <= cells // 2 for line in text.split("\n")):
        return text
    from llmtui.view.lines import wrap  # imports rich, which most commands do not need

    end = "\n" + " " * indent
    return "\n".join(line[:indent] + end.join(wrap(line[indent:], cells - indent)) for line in text.split("\n"))


def print_json(record: Any, schema: int = SCHEMA) -> None:
    """Print one object as a line of ASCII; NaN and infinities become null. schema: see `SCHEMA`."""
    try:
        encoded = msgspec.json.encode(record)
    except UnicodeEncodeError:  # lone surrogates: a path that is not UTF-8
        encoded = msgspec.json.encode(_without_surrogates(msgspec.to_builtins(record, str_keys=True)))
    plain = msgspec.json.decode(encoded)
    _write(json.dumps({"schema": schema, **plain}) + "\n")


def _without_surrogates(value: Any) -> Any:
    """`value` with U+FFFD in place of lone surrogates."""
    match value:
        case str():
            return re.sub("[\ud800-\udfff]", "\ufffd", value)
        case dict():
            return {_without_surrogates(key): _without_surrogates(each) for key, each in value.items()}
        case list() | tuple():
            return [_without_surrogates(each) for each in value]
    return value


def print_message(text: str, *, indent: int = 0) -> None:
    """Print a message to standard error, sanitised, with line breaks kept. Raises BrokenPipeError.

    indent: as with `print_output`.
    """
    try:
        sys.stderr.write(_wrap_indented(visible(text), indent, columns(sys.stderr)) + "\n")
        sys.stderr.flush()
    except BrokenPipeError:
        raise
    except OSError:  # standard error goes to a full disk
        pass


def print_error(text: str) -> None:
    """Print an error message, indented like `LlmtuiError.sentence`."""
    print_message(f"llmtui: {text}", indent=len("llmtui: "))


_STYLES = {"before": ("[-", "-]", "31"), "after": ("{+", "+}", "32"), "…": (" … ", " … ", "2")}


def print_diff(spans: Iterable[tuple[str, str]]) -> None:
    """Print the spans of `llmtui.view.word_diff`, with markers, and with colours if `_use_colours`."""
    colours = _use_colours()
    pieces = []
    for kind, text in spans:
        if kind == "both":
            pieces.append(visible(text))
            continue
        before, after, colour = _STYLES[kind]
        marked = f"{before}{shown(text, sys.maxsize)}{after}"
        pieces.append(_coloured(marked, colour if colours else ""))
    _write("".join(pieces).rstrip("\n") + "\n")


def _use_colours() -> bool:
    """Whether standard output is a terminal and NO_COLOR is not set."""
    return can_redraw() and not os.environ.get("NO_COLOR")


def can_redraw() -> bool:
    """Whether standard output is a terminal that supports cursor movement."""
    return sys.stdout.isatty() and os.environ.get("TERM", "dumb") != "dumb"


class LiveText:
    """Text at the end of the terminal's output that is redrawn in place; only the last lines if it is too long."""

    COLOURS: ClassVar[dict[str, str]] = {"dim": "2", "accent": "36"}

    def __init__(self) -> None:
        self._rows = 0

    @property
    def is_shown(self) -> bool:
        """Whether any text is shown; the cursor is then at its end."""
        return self._rows > 0

    def show(self, spans: Sequence[tuple[str, str]]) -> None:
        """Replace the text. spans: sanitised text and its style."""
        from llmtui.view.lines import wrapped  # imports rich, which most commands do not need

        columns, rows = shutil.get_terminal_size()
        # the last column stays empty: some terminals wrap after writing it
        lines = wrapped(list(spans), columns - 1)[-max(1, rows - 1) :]
        self.clear()
        self._rows = len(lines)
        colours = self.COLOURS if _use_colours() else {}
        written = ("".join(_coloured(text, colours.get(role, "")) for text, role in line) for line in lines)
        _write("\n".join(written))

    def clear(self) -> None:
        """Erase the text."""
        up = f"\x1b[{self._rows - 1}A" if self._rows > 1 else ""
        sys.stdout.write(f"{up}\r\x1b[J" if self._rows else "")
        self._rows = 0


def _coloured(text: str, colour: str) -> str:
    return f"\x1b[{colour}m{text}\x1b[m" if colour else text


def print_table(rows: list[tuple[str, ...]]) -> None:
    """Print a table; the first row has the headings. If it is too wide for the terminal, the last column is wrapped, or
    printed below the others."""
    text, cells = table(rows), columns()
    if all(len(line) <= cells for line in text.split("\n")):
        print_output(text)
        return
    edge = table([(*row[:-1], "|") for row in rows]).index("|")
    if cells - edge >= MIN_WRAP_WIDTH:
        for line in text.split("\n"):
            print_output(line, indent=edge)
        return
    for line, row in zip(table([row[:-1] for row in rows]).split("\n"), rows, strict=True):
        print_output(line)
        if row[-1] and row is not rows[0]:
            print_output("    " + shown(row[-1]), indent=4)


def is_interactive() -> bool:
    """Whether standard input and output are a terminal that the workbench can use."""
    terminal = sys.stdin is not None and sys.stdin.isatty() and sys.stdout.isatty()  # None: closed
    return terminal and os.environ.get("TERM", "dumb") != "dumb"
