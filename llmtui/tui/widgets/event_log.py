"""The events of a run on the Train screen."""

from __future__ import annotations

import time
from typing import ClassVar

from llmtui.tui.widgets.pane import ScrollPane
from llmtui.tui.widgets.panels import RunPane
from llmtui.view.lines import Line, cut, wrap
from llmtui.view.sanitize import shown

_HEAD_CELLS = 16
"""Of time and kind before the text of an event."""

_KINDS = {"warn": "warn", "error": "bad", "end": "bold", "saved": "good", "eval": "val"}


class EventLog(RunPane, ScrollPane, can_focus=True):
    """The events of the run, newest first; wrapped where there is height for it."""

    WRAPPED_FROM: ClassVar[int] = 16
    """Rows of the pane from which long texts are wrapped, to three lines at most."""

    _made: tuple[object, list[Line]] = (None, [])
    """The lines and what they were made of: there are up to a thousand events, and most ticks bring none."""

    HELP: ClassVar[str] = "What happened in the run, newest first; the Logs screen has all of it."

    def heading(self, width: int) -> Line:
        return [("events", "title")]

    def content(self, width: int) -> list[Line]:
        wraps = self.inner_size[1] >= self.WRAPPED_FROM
        history = self.history
        made_of = history and (history.run.id, history.curves.noted, history.caught_up, width, wraps)
        if made_of is None or self._made[0] != made_of:
            lines: list[Line] = []
            for at, kind, text in reversed(history.events if history else ()):
                head: Line = [
                    (time.strftime("%H:%M:%S ", time.localtime(at)), "dim"),
                    (f"{kind:<6} ", _KINDS.get(kind, "dim")),
                ]
                first, *more = wrap(shown(text), width - _HEAD_CELLS) if wraps else [shown(text)]
                if len(more) > 2:
                    more[1:] = [cut(" ".join(more[1:]), width - _HEAD_CELLS)]
                lines += [[*head, (first, "")], *([(" " * _HEAD_CELLS + part, "")] for part in more)]
            self._made = made_of, lines
        return [*self._made[1]] or [[("nothing yet", "dim")]]
