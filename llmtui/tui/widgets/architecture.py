"""The panes of the Model screen: the picture, the highlighted step, memory and time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual import events
from textual.message import Message

from core.model.memory_fit import PrecisionPlan
from core.recipe.choices import value_of
from core.recipe.fields import fields
from core.recipe.schema import Recipe
from core.runs.summary import Summary
from llmtui.tui.model_draft import ModelDraft
from llmtui.tui.widgets.pane import Pane, ScrollPane
from llmtui.view.architecture_figures import columns, columns_width, memory_lines, share, speed_lines
from llmtui.view.architecture_picture import MIN_WIDTH, Row, draw, window
from llmtui.view.architecture_report import titles_line, total_line, with_figures
from llmtui.view.export_text import export_words
from llmtui.view.lines import Line, cell, joined, wrap

_CONDENSED = 12
"""Rows below which the fields of a step share one."""


class PicturePane(Pane, can_focus=True):
    """The architecture with a cursor on one of its steps, and the figures of each beside it."""

    HELP: ClassVar[str] = (
        "The model as a picture, tokens at the bottom, logits at the top. The cursor is on a part; ← → change a "
        "field of it, and every figure follows. The heading says what llmtui export makes of it, or which fields "
        "prevent that."
    )
    KEYS: ClassVar[tuple[tuple[str, str], ...]] = (
        ("↑ ↓, j k", "The part above, below."),
        ("pgup pgdn", "Four parts up, down."),
        ("home end, g G", "To the logits, to the tokens."),
    )
    draft: ModelDraft | None = None

    class Moved(Message):
        """Posted when the cursor moved to another step."""

    def heading(self, width: int) -> Line:
        text, role = export_words(self.draft.recipe.model) if self.draft else ("", "")
        return [("architecture", "title"), (f"  {text}", role)]

    def lines(self, width: int, height: int) -> list[Line]:
        self._drawn: Sequence[Row] = ()
        if self.draft is None:
            return []
        draft = self.draft
        indices = columns(width - MIN_WIDTH, draft.is_changed)
        picture = width - columns_width(indices)
        total = 2 if indices and height > 10 else 0
        rows = draw(draft.steps, draft.hidden, picture, height - total, draft.selected)
        self._drawn = window(rows, height - total, draft.selected)
        lines = with_figures(self._drawn, picture, draft.figures, draft.before, indices)
        if not total:
            return lines
        whole = total_line(picture, draft.figures, draft.before, indices)
        return [titles_line(picture, indices), *lines, whole]

    def _move(self, by: int) -> None:
        if self.draft:
            self.draft.move(by)
            self.post_message(self.Moved())

    def on_key(self, event: events.Key) -> None:
        steps = {"up": 1, "k": 1, "down": -1, "j": -1, "home": 99, "end": -99, "g": 99, "G": -99}
        steps |= {"pageup": 4, "pagedown": -4}
        if event.key in steps:
            self._move(steps[event.key])
            event.stop()

    def on_click(self, event: events.Click) -> None:
        titles = len(self._content) > len(self._drawn) and bool(self._drawn)
        index = event.y - 1 - titles
        if self.draft and 0 <= index < len(self._drawn) and self._drawn[index].step:
            self.draft.selected = self._drawn[index].step
            self.post_message(self.Moved())

    def on_mouse_scroll_down(self) -> None:
        self._move(-1)

    def on_mouse_scroll_up(self) -> None:
        self._move(1)


class StepPane(ScrollPane):
    """The highlighted step: the fields that change it, its figures, its formula, what it does."""

    HELP: ClassVar[str] = "The highlighted part: its fields, parameters and FLOPs, its formula, and what it does."
    draft: ModelDraft | None = None

    def heading(self, width: int) -> Line:
        if self.draft is None:
            return []
        more = "  tab, ↓: more" if self._length > self.inner_size[1] and not self.has_focus else ""
        return [(self.draft.step.title, "title"), (more, "dim")]

    def content(self, width: int) -> list[Line]:
        if self.draft is None:
            return []
        step = self.draft.step
        formula: list[Line] = [[(row, "accent")] for text in step.formula for row in wrap(text, width)]
        explanation: list[Line] = [[(row, "")] for row in wrap(step.explanation, width)]
        if self.inner_size[1] < _CONDENSED:  # the figures are beside the picture
            return [self._fields_in_one(width), *explanation, *formula]
        return [*self._fields(width), [], *self._figures(), *formula, [], *explanation]

    def _fields(self, cells: int) -> list[Line]:
        assert self.draft is not None
        lines: list[Line] = []
        names = max(len(_label(name)) for name in self.draft.fields) + 2
        for name in self.draft.fields:
            own = name == self.draft.field
            value = f"‹ {_text(self.draft.recipe, name)} ›" if own else f"  {_text(self.draft.recipe, name)}"
            was = _text(self.draft.base, name)
            changed = f"  was {was}" if was != _text(self.draft.recipe, name) else ""
            lines.append(
                [
                    (cell(_label(name), names), "key" if own else "dim"),
                    (value, "bold" if own else ""),
                    (changed, "accent"),
                ]
            )
            if own:
                lines += [[(f"  {row}", "dim")] for row in wrap(_DESCRIPTIONS[name], cells - 2)]
        return lines

    def _fields_in_one(self, cells: int) -> Line:
        assert self.draft is not None
        found: list[Line] = []
        for name in self.draft.fields:
            own, value = name == self.draft.field, _text(self.draft.recipe, name)
            part: Line = [
                (f"{_label(name)} ", "key" if own else "dim"),
                (f"‹{value}›" if own else value, "bold" if own else ""),
            ]
            found.insert(0, part) if own else found.append(part)
        return joined(found, cells)

    def _figures(self) -> list[Line]:
        """Parameters and FLOPs of the step; nothing for one without."""
        assert self.draft is not None
        figures, name = self.draft.figures, self.draft.step.name
        if name not in figures.steps:
            return []
        own, total, blocks = figures.steps[name], figures.total, self.draft.recipe.model.n_layer
        rows = [("parameters", f"{own.parameters:,}", share(own.parameters, total.parameters))]
        if self.draft.in_block and blocks > 1:
            rows.append(("  of a block", f"{own.parameters // blocks:,}", ""))
        if own.flops:
            rows.append(("FLOPs/token", f"{own.flops:,}", share(own.flops, total.flops)))
        return [[(cell(label, 13), "dim"), (value, ""), (f"  {part}", "dim")] for label, value, part in rows]


class FiguresPane(Pane):
    """Memory of a training step, and time."""

    draft: ModelDraft | None = None
    plans: Sequence[PrecisionPlan] = ()
    before: Sequence[PrecisionPlan] = ()
    """Of the recipe without the changes."""
    summary: Summary | None = None
    """Of the run that trains the model without the changes."""

    def heading(self, width: int) -> Line:
        return [("memory and time", "title")]

    def lines(self, width: int, height: int) -> list[Line]:
        if self.draft is None:
            return []
        speed = speed_lines(self.draft.recipe, self.draft.figures, self.summary, self.draft.before)
        memory = memory_lines(self.draft.recipe, self.plans, self.before)
        if len(speed) + len(memory) > height:
            memory = memory_lines(self.draft.recipe, self.plans, self.before, brief=True)
        gap: list[Line] = [[]] if len(speed) + len(memory) < height else []
        return [*speed, *gap, *memory]


_DESCRIPTIONS = {field.name: field.description for field in fields() if field.section in ("model", "tokenize")}
_LABELS = {"size": "vocabulary size"}


def _label(name: str) -> str:
    return _LABELS.get(name, name)


def _text(recipe: Recipe, name: str) -> str:
    value = value_of(recipe, name)
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:,}" if isinstance(value, int) else str(value)
