"""What was asked and what the model wrote."""

from __future__ import annotations

from typing import ClassVar

from llmtui.tui.chat_view import Turn
from llmtui.tui.widgets.pane import Scrolling
from llmtui.view import units
from llmtui.view.lines import Line, wrap, wrapped
from llmtui.view.sanitize import shown
from llmtui.view.unmask import styled


class Transcript(Scrolling):
    """The turns with one run, the newest at the bottom."""

    FOLLOW: ClassVar[bool] = True

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002
        super().__init__(id=id)
        self.turns: list[Turn] = []
        self.title: Line = []
        self.hint = ""
        self._wrapped: dict[int, tuple[tuple[object, ...], list[Line]]] = {}

    def show(self, turns: list[Turn]) -> None:
        """Draw these turns."""
        if turns is not self.turns:
            self.turns = turns
            self._wrapped = {}
            self.to_start()
        self.update()

    def heading(self, width: int) -> Line:
        return self.title

    def content(self, width: int) -> list[Line]:
        if not self.turns:
            return [[(part, "dim")] for part in wrap(self.hint, width)]
        lines: list[Line] = []
        for number, turn in enumerate(self.turns):
            state = (width, len(turn.text), turn.uncovering, turn.outcome, turn.settings, turn.tokens_per_second)
            known = self._wrapped.get(number)
            if known is None or known[0] != state:
                known = state, self._turn(turn, width)
                self._wrapped[number] = known
            lines += known[1]
        return lines

    @staticmethod
    def _turn(turn: Turn, width: int) -> list[Line]:
        between = "\n" if turn.apart else ""
        spans = [(shown(turn.prompt, 100_000, lines=True) + between, "dim")]
        spans.append((shown(turn.text, 100_000, lines=True), ""))
        if turn.uncovering:
            spans += styled(turn.uncovering, turn.cells)
        elif turn.at_work:
            spans.append(("▌", ""))
        speed = f", {units.rate(turn.tokens_per_second, 'tok')}" if turn.tokens_per_second else ""
        role = "bad" if turn.failed else "dim"
        settings = f" · {turn.settings}" if turn.settings else ""
        told = wrap(f"{shown(turn.outcome)}{speed}{settings}", width)
        return [*wrapped(spans, width), *([(part, role)] for part in told), []]
