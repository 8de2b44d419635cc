"""The architecture of a model as a picture of characters: the output at the top, the token ids at the bottom."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from rich.cells import cell_len

from core.model.parts import BLOCK
from llmtui.view.architecture import Step
from llmtui.view.lines import Line, cell, cut, spread, width

MIN_WIDTH: Final = 37
"""Cells in which every name fits."""
MAX_WIDTH: Final = 56
_AROUND: Final = 6
"""Cells beside a box: the frame of the block, a blank on both sides, the shortcut connection and one more."""


class Row(NamedTuple):
    """A row of the picture."""

    step: str
    """The name of the step that it belongs to; empty between steps."""
    line: Line
    head: bool = False
    """Whether it has the name of the step."""


def draw(steps: Sequence[Step], hidden: str, cells: int, height: int, selected: str = "") -> list[Row]:
    """The picture, MIN_WIDTH to `cells` wide, in the roomiest form that fits `height` rows, or else the tightest.

    steps: in the order of the forward pass. hidden: the shape of what passes between them. selected: a step's name.
    """
    rows: list[Row] = []
    for space in (3, 2, 1, 0):
        rows = list(_Drawing(steps, hidden, cells, space, selected).rows())
        if len(rows) <= height:
            break
    return rows


def window(rows: Sequence[Row], height: int, selected: str) -> Sequence[Row]:
    """The `height` rows around the selected step."""
    own = [index for index, row in enumerate(rows) if row.step == selected]
    middle = (own[0] + own[-1]) // 2 if own else 0
    first = max(0, min(middle - height // 2, len(rows) - height))
    return rows[first : first + height]


class _Drawing:
    """space: 0 without arrows, 1 with those outside the blocks, 2 with all of them, 3 with a frame around each step."""

    def __init__(self, steps: Sequence[Step], hidden: str, cells: int, space: int, selected: str) -> None:
        self._steps = {step.name: step for step in steps}
        self._hidden, self._space, self._selected = hidden, space, selected
        self._box = max(MIN_WIDTH, min(MAX_WIDTH, cells)) - _AROUND
        self._trunk = self._box // 2 - 1
        """Cells between the left end of a box and the arrow into it."""

    def rows(self) -> Iterator[Row]:
        yield from self._open_end("logits")
        yield from self._arrow("", inside=False)
        for name in ("lm_head", "ln_f"):
            yield from self._step(name, inside=False)
            yield from self._arrow(self._hidden, inside=False)
        yield from self._blocks()
        for name in ("wpe", "wte"):
            if name in self._steps:
                yield from self._arrow(self._hidden, inside=False)
                yield from self._step(name, inside=False)
        yield from self._arrow("", inside=False)
        yield from self._open_end("ids")

    def _blocks(self) -> Iterator[Row]:
        """The frame around what is repeated: twice a norm and a layer, with a shortcut connection around both."""
        rule = "─" * (self._box + 4)
        role = self._role(BLOCK)
        title = cut(f" {self._steps[BLOCK].title} ", self._trunk)
        above = rule[: self._trunk + 1] + "┴" + rule[self._trunk + 2 :]
        yield Row(
            BLOCK, [("╭", "frame"), (title, role or "title"), (f"{above[cell_len(title) :]}╮", "frame")], head=True
        )
        for layer, norm in (("mlp", "ln_2"), ("attn", "ln_1")):
            stem, rest = " " * self._trunk, "─" * (self._box - self._trunk - 1)
            yield Row("", self._across([(f"{stem}⊕◀{rest}╮", "frame")], inside=True))
            yield from self._arrow(self._hidden, inside=True)
            yield from self._step(layer, inside=True)
            yield from self._arrow(self._hidden, inside=True)
            yield from self._step(norm, inside=True)
            yield Row("", self._across([(f"{stem}├─{rest}╯", "frame")], inside=True))
        yield Row("", [(f"╰{rule[: self._trunk + 1]}┬{rule[self._trunk + 2 :]}╯", "frame")])

    def _open_end(self, name: str) -> Iterator[Row]:
        step = self._steps[name]
        text = cell(f"  {step.title} {' '.join(step.details)}", self._box)
        yield Row(name, self._across([(text, self._role(name))], inside=False), head=True)

    def _arrow(self, shape: str, *, inside: bool) -> Iterator[Row]:
        if self._space >= (2 if inside else 1):
            line: Line = [(" " * self._trunk, ""), ("▲", "frame"), (f"  {shape}" if shape else "", "dim")]
            yield Row("", self._across(line, inside=inside, shortcut=inside))

    def _step(self, name: str, *, inside: bool) -> Iterator[Row]:
        role = self._role(name)
        texts = _texts(self._steps[name], self._box - 4)
        left, right = ("│ ", " │") if self._space == 3 else ("[ ", " ]")
        lines: list[Line] = [
            [(left, "frame"), (cell("".join(part for part, _ in text), self._box - 4), "cursor"), (right, "frame")]
            if role
            else [(left, "frame"), *text, (" " * (self._box - 4 - width(text)), ""), (right, "frame")]
            for text in texts
        ]
        rule = "─" * (self._box - 2)
        frame = self._space == 3
        if frame:
            yield Row(name, self._across([(f"┌{rule}┐", "frame")], inside=inside, shortcut=inside))
        for number, line in enumerate(lines):
            yield Row(name, self._across(line, inside=inside, shortcut=inside), head=number == 0)
        if frame:
            yield Row(name, self._across([(f"└{rule}┘", "frame")], inside=inside, shortcut=inside))

    def _role(self, name: str) -> str:
        return "cursor" if name == self._selected else ""

    def _across(self, line: Line, *, inside: bool, shortcut: bool = False) -> Line:
        """`line` in the whole width. inside: between the sides of the block; shortcut: beside its connection."""
        side = "│" if inside else " "
        rest = self._box + 2 - width(line)
        beside = " " * (rest - 1) + "│" if shortcut else " " * rest
        return [(f"{side} ", "frame"), *line, (f"{beside} {side}", "frame")]


def _texts(step: Step, cells: int) -> list[Line]:
    """The name and the details of a step in one line, or the details below it."""
    details = " · ".join(step.details)
    if cell_len(step.title) + 2 + cell_len(details) <= cells:
        return [spread([(step.title, "")], [(details, "dim")], cells)]
    lines: list[str] = []
    for detail in step.details:
        longer = f"{lines[-1]} · {detail}" if lines else detail
        if lines and cell_len(longer) <= cells - 2:
            lines[-1] = longer
        else:
            lines.append(detail)
    return [[(cut(step.title, cells), "")], *([(cut(f"  {line}", cells), "dim")] for line in lines)]
