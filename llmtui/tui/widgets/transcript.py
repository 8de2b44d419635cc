"""Prompts and what the model generated."""

from __future__ import annotations

from typing import ClassVar

from llmtui.tui.run_chat import Turn
from llmtui.tui.widgets.pane import ScrollPane
from llmtui.view import units
from llmtui.view.lines import Line, wrap, wrapped
from llmtui.view.sanitize import shown
from llmtui.view.unmask import styled


class Transcript(ScrollPane):
    """The turns with one run, the newest at the bottom."""

    FOLLOW: ClassVar[bool] = True

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002
        super().__init__(id=id)
        self.turns: list[Turn] = []
        self.title: Line = []
        self.hint = ""
        self._wrapped: dict[int, tuple[tuple[object, ...], list[Line]]] = {}

    def show(self, turns: list[Turn]) -> None:
        """Show these turns."""
        if turns is not self.turns:
            self.turns = turns
            self._wrapped = {}
            self.reset_scroll()
        self.update()

    def heading(self, width: int) -> Line:
        return self.title

    def content(self, width: int) -> list[Line]:
        if not self.turns:
            return [[(part, "dim")] for part in wrap(self.hint, width)]
        lines: list[Line] = []
        for number, turn in enumerate(self.turns):
            state = (width, len(turn.text), turn.masked_spans, turn.status, turn.settings, turn.tokens_per_second)
            known = self._wrapped.get(number)
            if known is None or known[0] != state:
                known = state, self._turn_lines(turn, width)
                self._wrapped[number] = known
            lines += known[1]
        return lines

    @staticmethod
    def _turn_lines(turn: Turn, width: int) -> list[Line]:
        between = "\n" if turn.is_reply else ""
        spans = [(shown(turn.prompt, 100_000, lines=True) + between, "dim")]
        spans.append((shown(turn.text, 100_000, lines=True), ""))
        if turn.masked_spans:
            spans += styled(turn.masked_spans, turn.mask_width)
        elif turn.pending:
            spans.append(("▌", ""))
        speed = f", {units.rate(turn.tokens_per_second, 'tok')}" if turn.tokens_per_second else ""
        role = "bad" if turn.failed else "dim"
        settings = f" · {turn.settings}" if turn.settings else ""
        status = wrap(f"{shown(turn.status)}{speed}{settings}", width)
        return [*wrapped(spans, width), *([(part, role)] for part in status), []]
