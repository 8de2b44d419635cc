"""Prompts and what the model generated."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from core.checkpoints import step_of
from core.run_names import name_of_run
from llmtui.tui.widgets.pane import ScrollPane
from llmtui.view import surprise, units
from llmtui.view.chat_turn import Turn
from llmtui.view.lines import Line, clip, spread, width, wrap, wrapped
from llmtui.view.sanitize import shown
from llmtui.view.unmask import styled

_COLUMNS_FROM = 72
"""Cells from which two answers stand side by side instead of one above the other."""
_LIMIT = 100_000
"""Characters of a text that are shown."""


class Transcript(ScrollPane):
    """The turns with one run, the newest at the bottom. One of them may be chosen."""

    HELP: ClassVar[str] = (
        "The conversation with the selected run. A turn can be chosen: it is then what is copied, edited, explained."
    )
    FOLLOW: ClassVar[bool] = True

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002
        super().__init__(id=id)
        self.turns: list[Turn] = []
        self.title: Line = []
        self.hint = ""
        self.shades = False
        """Whether tokens are shaded by their surprise."""
        self._chosen: int | None = None
        self._wrapped: dict[int, tuple[object, list[Line]]] = {}

    def show(self, turns: list[Turn]) -> None:
        """Show these turns."""
        if turns is not self.turns:
            self.turns, self._chosen = turns, None
            self._wrapped = {}
            self.reset_scroll()
        self.update()

    @property
    def chosen(self) -> Turn | None:
        """The chosen turn, by default the last one."""
        if not self.turns:
            return None
        return self.turns[-1 if self._chosen is None else min(self._chosen, len(self.turns) - 1)]

    @property
    def copied(self) -> str:
        """The text of the chosen turn."""
        return self.chosen.text if self.chosen else ""

    def choose(self, step: int) -> None:
        """Choose the turn after (1) or before (-1) the chosen one, and scroll to it; after the last: none in
        particular."""
        at = len(self.turns) if self._chosen is None else self._chosen
        at = max(0, at + step)
        self._chosen = at if at < len(self.turns) else None
        self._wrapped = {}
        lines = self.content(self.inner_size[0])
        starts = sum(len(self._wrapped[number][1]) for number in range(at)) if self._chosen is not None else len(lines)
        self.reset_scroll()
        self.scroll_lines(-max(0, len(lines) - starts - self.inner_size[1]))

    def scroll_by(self, direction: int, *, page: bool) -> None:
        """Scroll down (1) or up (-1) by a line, or by a page."""
        self.scroll_lines(direction * (max(1, self.inner_size[1] - 1) if page else 1))

    # -- drawing --------------------------------------------------------------------------------------------------

    def heading(self, width: int) -> Line:
        return spread(self.title, surprise.legend(), width) if self.shades and self.turns else self.title

    def content(self, width: int) -> list[Line]:
        if not self.turns:
            return [[(part, "dim")] for part in wrap(self.hint, width)]
        lines: list[Line] = []
        for number, turn in enumerate(self.turns):
            state = (width, self.shades, *_state(turn), *(_state(turn.compared) if turn.compared else ()))
            known = self._wrapped.get(number)
            if known is None or known[0] != state:
                known = state, self._turn_lines(turn, width, chosen=number == self._chosen)
                self._wrapped[number] = known
            lines += known[1]
        return lines

    def _turn_lines(self, turn: Turn, width: int, *, chosen: bool) -> list[Line]:
        if turn.compared is None:
            lines = self._answer(turn, width - 2 * chosen, [(_prompt(turn), "dim")])
        else:
            lines = self._compared(turn, turn.compared, width - 2 * chosen)
        return [*([("▌ ", "accent"), *line] if chosen else line for line in lines), []]

    def _answer(self, turn: Turn, width: int, before: Line) -> list[Line]:
        """`before`, then the text of the turn, then how it was generated."""
        spans = [*before, *self._text(turn)]
        if turn.masked_spans:
            spans += styled(turn.masked_spans, turn.mask_width)
        elif turn.pending:
            spans.append(("▌", ""))
        if turn.suffix:
            spans.append((shown(turn.suffix, _LIMIT, lines=True), "dim"))
        speed = f", {units.rate(turn.tokens_per_second, 'tok')}" if turn.tokens_per_second else ""
        role = "bad" if turn.failed else "dim"
        settings = f" · {shown(turn.settings)}" if turn.settings else ""
        status = wrap(f"{shown(turn.status)}{speed}{settings}", width)
        return [*wrapped(spans, width), *([(part, role)] for part in status)]

    def _text(self, turn: Turn) -> Line:
        if self.shades and turn.surprise and len(turn.text) <= _LIMIT:
            return surprise.shaded(turn.text, turn.surprise)
        return [(shown(turn.text, _LIMIT, lines=True), "")]

    def _compared(self, turn: Turn, other: Turn, width: int) -> list[Line]:
        """The prompt, then both answers: side by side if there is room."""
        prompt = wrapped([(_prompt(turn).rstrip("\n"), "dim")], width)
        below = width < _COLUMNS_FROM
        cells = width if below else (width - 3) // 2
        left = [_label("A", turn, ""), *self._answer(turn, cells, [])]
        right = [
            _label("B", other, "" if other.run == turn.run else name_of_run(other.run)),
            *self._answer(other, cells, []),
        ]
        if below:
            return [*prompt, *left, *right]
        height = max(len(left), len(right))
        left, right = ([*lines, *[[]] * (height - len(lines))] for lines in (left, right))
        return [*prompt, *(_beside(one, two, cells) for one, two in zip(left, right, strict=True))]


def _label(letter: str, turn: Turn, run: str) -> Line:
    step = f"step {step_of(Path(turn.checkpoint)):,}" if turn.checkpoint else ""
    return [(letter, "key"), (f"  {shown(run, 64)}" if run else "", "bold"), (f"  {step}", "bold")]


def _prompt(turn: Turn) -> str:
    return shown(turn.prompt, _LIMIT, lines=True) + ("\n" if turn.is_reply else "")


def _state(turn: Turn) -> tuple[object, ...]:
    """What the lines of a turn depend on."""
    return len(turn.text), turn.masked_spans, turn.status, turn.settings, turn.tokens_per_second, turn.pending


def _beside(left: Line, right: Line, cells: int) -> Line:
    left = clip(left, cells)
    return [*left, (" " * (cells - width(left)), ""), (" │ ", "frame"), *right]
