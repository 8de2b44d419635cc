"""A pane: rows of text in a border, of which only those that changed are sent to the terminal.

Textual sends the whole of a refreshed widget: 5.3 kB for a chart of 118x30 cells, of which the changed rows are 1.4 kB.
It can refresh single rows, but not the end of one, so rows are compared.
"""

from __future__ import annotations

from typing import ClassVar

from rich.cells import cell_len
from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.color import Color
from textual.geometry import Offset, Region
from textual.selection import Selection
from textual.strip import Strip
from textual.widget import Widget

from llmtui.view.lines import Line, clip, cut, plain, width
from llmtui.view.sanitize import shown

BOXES_FROM = 100
"""Terminal columns from which panes have a box; narrower, a rule above each saves one row and two columns."""

ROLES: dict[str, tuple[str, str]] = {
    "dim": ("muted", ""),
    "bold": ("", "bold"),
    "title": ("foreground", "bold"),
    "frame": ("frame", ""),
    "frame-focus": ("accent", ""),
    "accent": ("accent", ""),
    "good": ("success", ""),
    "warn": ("warning", ""),
    "bad": ("error", ""),
    "bar": ("chart-train", ""),
    "key": ("accent", "bold"),
    "cursor": ("accent", "bold reverse"),
    "raw": ("chart-raw", ""),
    "train": ("chart-train", ""),
    "val": ("chart-val", ""),
    "extra": ("chart-extra", ""),
    **{f"run-{number}": (f"chart-run-{number}", "") for number in range(1, 7)},
    "surprise-1": ("muted", ""),
    "surprise-2": ("", ""),
    "surprise-3": ("warning", ""),
    "surprise-4": ("warning", "underline"),
    "surprise-5": ("error", "bold underline"),
}
"""Theme variable and text style of each role that a span of a line may have (see `llmtui.view.lines`).

Not component classes: Textual makes a DOM node for each of them, of every widget, whenever it applies its style sheet,
which took a quarter of the time to show a screen.
"""

_NEVER = (-1, -1, False)
_SELECTED = Style(reverse=True)  # which shows without colours too


class Pane(Widget):
    """Base class of our widgets: subclasses return their content from `lines` and call `update` after a change."""

    FRAMED: ClassVar[bool] = True
    HELP: ClassVar[str] = ""
    """For the help while the pane has the focus: what it is."""
    KEYS: ClassVar[tuple[tuple[str, str], ...]] = ()
    """Its own keys, and what they do."""

    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:  # noqa: A002
        super().__init__(id=id, classes=classes)
        self._rows: list[Line] = []
        self._content: list[Line] = []
        self._rendered_for = _NEVER
        self._roles: dict[str, Style] = {}

    # -- for subclasses -------------------------------------------------------------------------------------------

    def heading(self, width: int) -> Line:
        """The title, at most `width` cells; shown if FRAMED."""
        return []

    def lines(self, width: int, height: int) -> list[Line]:
        """The content at this size: up to `height` lines of up to `width` cells."""
        raise NotImplementedError

    @property
    def boxed(self) -> bool:
        """Whether the pane has a box, instead of a rule above it."""
        return self.FRAMED and self.app.size.width >= BOXES_FROM

    @property
    def inner_size(self) -> tuple[int, int]:
        """Width and height of the content, without the border."""
        columns, rows = self.size
        if self.boxed:
            return max(0, columns - 4), max(0, rows - 2)
        return max(0, columns - 2), max(0, rows - (1 if self.FRAMED else 0))

    def update(self) -> None:
        """Compute the rows again and refresh those that changed."""
        if not self.is_mounted or not self.size or not self.display:
            if self._rendered_for != _NEVER:  # so that it is rendered again when it is next displayed
                self._rendered_for = _NEVER
                self.refresh()
            return
        old, self._rows = self._rows, self._compose_rows()
        if len(old) != len(self._rows):
            self.refresh()
            return
        changed = [Region(0, y, self.size.width, 1) for y, row in enumerate(self._rows) if row != old[y]]
        if changed:
            self.refresh(*changed)

    # -- drawing --------------------------------------------------------------------------------------------------

    def _compose_rows(self) -> list[Line]:
        columns, rows = self.size
        self._rendered_for = (columns, rows, self.has_focus)
        inner, height = self.inner_size
        content = self._content = [*self.lines(inner, height)[:height]]
        content += [[]] * (height - len(content))
        widths = [width(line) for line in content]
        for y, cells in enumerate(widths):
            if cells > inner:
                content[y] = clip(content[y], inner)
                widths[y] = width(content[y])
        edge = "frame-focus" if self.has_focus else "frame"
        if not self.boxed:
            framed = [[(" ", ""), *line] for line in content]
            return [self._rule(columns, edge, "─", "─"), *framed][:rows] if self.FRAMED else framed
        sides = [
            [("│ ", edge), *line, (" " * (inner - cells), ""), (" │", edge)] if inner else []
            for line, cells in zip(content, widths, strict=True)
        ]
        return [self._rule(columns, edge, "╭", "╮"), *sides, [("╰" + "─" * (columns - 2) + "╯", edge)]][:rows]

    def _rule(self, columns: int, edge: str, left: str, right: str) -> Line:
        title = clip(self.heading(columns - 6), columns - 6)
        if not width(title):
            return [(left + "─" * (columns - 2) + right, edge)]
        title = [(text, role or "title") for text, role in title]
        return [(f"{left} ", edge), *title, (" " + "─" * (columns - 4 - width(title)) + right, edge)]

    def render_line(self, y: int) -> Strip:
        if self._rendered_for != (*self.size, self.has_focus):
            self._rows = self._compose_rows()
        line = self._rows[y] if y < len(self._rows) else []
        strip = Strip(self._segments(line)).adjust_cell_length(self.size.width, self._style(""))
        row = y - self.FRAMED
        if not 0 <= row < len(self._content):
            return strip
        return self._marked_selected(strip, row).apply_offsets(-self._margin, row)

    # -- copying --------------------------------------------------------------------------------------------------

    @property
    def _margin(self) -> int:
        """Cells to the left of the content."""
        return 2 if self.boxed else 1

    @property
    def copied(self) -> str:
        """What the copy key takes: the text that is shown."""
        return plain(self._content)

    def _texts(self) -> list[str]:
        return ["".join(text for text, _ in line).rstrip() for line in self._content]

    def get_selection(self, selection: Selection) -> tuple[str, str] | None:
        """The text of a selection, without the border."""
        start, end = (at and Offset(max(0, at.x), max(0, at.y)) for at in selection)
        texts = self._texts()
        if start is not None and start.y >= len(texts):
            return None
        return Selection(start, end).extract("\n".join(texts)), "\n"

    def _marked_selected(self, strip: Strip, row: int) -> Strip:
        span = self.text_selection.get_span(row) if self.text_selection else None
        if span is None:
            return strip
        text = self._texts()[row]
        first = self._margin + cell_len(text[: max(0, span[0])])
        last = self._margin + cell_len(text if span[1] < 0 else text[: span[1]])
        parts = [strip.crop(0, first), strip.crop(first, last).apply_style(_SELECTED), strip.crop(last)]
        return Strip.join(parts) if last > first else strip

    def _segments(self, line: Line) -> list[Segment]:
        """Adjacent spans of one role become one segment: each costs about forty bytes of colour sequences."""
        merged: list[Segment] = []
        text, role = "", ""
        for span_text, span_role in line:
            blank = not span_text.strip() and "cursor" not in (role, span_role)
            if span_role != role and text and not blank:
                merged.append(Segment(text, self._style(role)))
                text = ""
            role = role if blank and text else span_role
            text += span_text if span_text.isprintable() else shown(span_text)
        merged.append(Segment(text, self._style(role)))
        return merged

    def _style(self, role: str) -> Style:
        if role not in self._roles:  # Textual's `rich_style` asks all ancestors, each time
            variable, text_style = ROLES.get(role, ("", ""))
            colour = Color.parse(self.app.theme_variables[variable]).rich_color if variable else None
            self._roles[role] = self.rich_style + Style.parse(text_style) + Style(color=colour)
        return self._roles[role]

    def notify_style_update(self) -> None:
        super().notify_style_update()
        self._roles = {}

    def watch_has_focus(self, value: bool) -> None:
        super().watch_has_focus(value)
        self.update()


class ScrollPane(Pane, can_focus=True):
    """A pane whose content may be longer than its height; it shows the start, or the end, until it is scrolled."""

    FOLLOW: ClassVar[bool] = False
    """Show the end of the content as it grows, instead of the start."""
    KEYS: ClassVar[tuple[tuple[str, str], ...]] = (
        ("↑ ↓, j k", "Scroll by a line."),
        ("pgup pgdn", "Scroll by a page."),
        ("home end, g G", "To the beginning, to the end."),
    )

    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:  # noqa: A002
        super().__init__(id=id, classes=classes)
        self._scrolled = 0
        """Lines between the window and where new content appears."""
        self._length = 0
        """Number of lines of the content."""

    def content(self, width: int) -> list[Line]:
        """All lines of the content at this width."""
        raise NotImplementedError

    @property
    def copied(self) -> str:
        """All of the content, also what is scrolled away."""
        return plain(self.content(self.inner_size[0]))

    def lines(self, width: int, height: int) -> list[Line]:
        content = self.content(width)
        self._length = len(content)
        self._scrolled = max(0, min(self._scrolled, self._length - height))
        start = self._length - height - self._scrolled if self.FOLLOW else self._scrolled
        start = max(0, start)
        window = content[start : start + height]
        below = self._length - start - height
        if self.FOLLOW and self._scrolled and window:
            note = f" {below} more lines below "
            window[-1] = [(cut(note, width), "key")]
        return window

    def scroll_lines(self, lines: int) -> None:
        """Scroll down by `lines` (up if negative)."""
        self._scrolled = max(0, self._scrolled + (-lines if self.FOLLOW else lines))
        self.update()

    def reset_scroll(self) -> None:
        """Return to where new content appears."""
        self._scrolled = 0

    def on_key(self, event: events.Key) -> None:
        page = max(1, self.inner_size[1] - 1)
        steps = {"up": -1, "k": -1, "down": 1, "j": 1, "pageup": -page, "pagedown": page}
        steps |= {"home": -self._length, "g": -self._length, "end": self._length, "G": self._length}
        if event.key in steps:
            self.scroll_lines(steps[event.key])
            event.stop()

    def on_mouse_scroll_down(self) -> None:
        self.scroll_lines(3)

    def on_mouse_scroll_up(self) -> None:
        self.scroll_lines(-3)
