"""The panes of the new-run form: fields, the one under the cursor, and what the recipe will take."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, NamedTuple

from rich.cells import cell_len

from core.errors import LlmtuiError
from core.recipe.fields import Field
from llmtui.tui.recipe_form import PRESET, RecipeForm, Resolved, value_text
from llmtui.tui.widgets.list_pane import ListPane
from llmtui.tui.widgets.pane import Pane, ScrollPane
from llmtui.view.forecast_text import Forecast
from llmtui.view.lines import Line, cell, cut, cut_start, hanging, spread, wrap
from llmtui.view.sanitize import shown

FieldRow = Field | str
"""A field, or the heading of a section."""

_MARKS = {"typed": "●", "follows": "○", "": " "}


def problem_text(error: LlmtuiError, field: Field | None = None) -> str:
    """What is wrong with a field and what to do, on one line. field: whose description is on the screen anyway."""
    todo = error.todo.removesuffix(f"{field.key}: {field.description}").rstrip("; ") if field else error.todo
    return shown(error.what + (f"; {todo}" if todo else ""), 600)


class FieldList(ListPane[FieldRow]):
    """The fields by section, with their values; changed ones are marked."""

    HELP: ClassVar[str] = (
        "Every field of the recipe. Changed ones are marked; those with a problem say so. Enter types a value, ← "
        "→ step through a choice."
    )

    def __init__(self, form: RecipeForm, *, id: str | None = None) -> None:  # noqa: A002
        super().__init__(id=id)
        self._form = form
        self.resolved = Resolved(None, None, {})
        self.searched = ""

    def show_fields(self, fields: Sequence[Field]) -> None:
        """Replace the rows by `fields` with a heading for each section."""
        rows: list[FieldRow] = []
        section = None
        first = {field.key for field in self._form.first}
        for field in fields:
            belongs = "first" if field.key in first else field.section
            if belongs != section:
                section = belongs
                rows.append("what matters first" if belongs == "first" else f"[{belongs}]")
            rows.append(field)
        self.show_items(rows)
        if isinstance(self.highlighted, str):
            self._move_to(self.index)

    @property
    def field(self) -> Field | None:
        """The field under the cursor."""
        return self.highlighted if isinstance(self.highlighted, Field) else None

    def _move_to(self, index: int) -> None:
        """Headings are skipped."""
        forward = range(index, len(self.items))
        backward = range(index, -1, -1)
        order = [*backward, *forward] if index < self.index else [*forward, *backward]
        super()._move_to(next((i for i in order if not isinstance(self.items[i], str)), index))

    def heading(self, width: int) -> Line:
        number = sum(not isinstance(row, str) for row in self.items)
        found = f"  {number} with “{shown(self.searched, 40)}”, esc shows all" if self.searched else f"  {number}"
        return [("fields", "title"), (found, "dim")]

    def key(self, item: FieldRow) -> str:
        return item if isinstance(item, str) else item.key

    def row(self, item: FieldRow, cells: int) -> Line:
        if isinstance(item, str):
            return [(item, "dim")]
        wrong = item.key in self.resolved.problems
        mark = "✗" if wrong else _MARKS[self._form.is_changed(item, self.resolved)]
        role = "bad" if wrong else "accent"
        text = shown(self._form.text(item, self.resolved.recipe), 200)
        if self._form.why_fixed(item.key):
            text = f"{text or 'left out'}  (stays)"
        name = min(30, cells * 5 // 9)
        value = (text, "") if text else ("left out" if item.optional else "empty", "dim")
        return [(f"{mark} ", role), (f"{cell(item.key, name)} ", ""), (cut(value[0], cells - name - 3), value[1])]

    def placeholder(self, cells: int) -> list[Line]:
        return [[("No field has these words in its name or description.", "dim")]]


class Suggestion(NamedTuple):
    """A value that the field under the cursor may take."""

    value: str
    about: str = ""


class FieldDetail(Pane):
    """The field under the cursor: its problem, the values to choose from while it is edited, and what it means."""

    def __init__(self, form: RecipeForm, *, id: str | None = None) -> None:  # noqa: A002
        super().__init__(id=id)
        self._form = form
        self.field: Field | None = None
        self.resolved = Resolved(None, None, {})
        self.editing = False
        self.suggestions: list[Suggestion] = []
        self.chosen = -1
        """Index of the suggestion under the cursor; -1: what is typed."""

    def heading(self, width: int) -> Line:
        if self.field is None:
            return []
        return [(self.field.key, "title")]

    def lines(self, width: int, height: int) -> list[Line]:
        if self.field is None:
            return []
        lines: list[Line] = []
        problem = self.resolved.problems.get(self.field.key) or self.resolved.problems.get("")
        if problem:
            wrong = hanging([(problem_text(problem, self.field), "bad")], ("✗ ", "bad"), width)
            lines += wrong[: max(1, height // 3)] if self.suggestions and self.editing else wrong
        if self.editing or self.field.key == PRESET.key:
            room = height - len(lines) - (2 if self.editing else 0)
            lines += self._choices(width, max(1, room))
        fixed = self._form.why_fixed(self.field.key)
        if fixed:
            lines += hanging([(f"It must stay as it is: {fixed}.", "warn")], ("", ""), width)
        lines += [[(part, "")] for part in wrap(self.field.description, width)]
        if self.field.key == PRESET.key:
            return lines
        lines += hanging([(self.field.allowed, "")], ("takes    ", "dim"), width)
        default = shown(value_text(self.field.default), 200) or ("left out" if self.field.optional else "empty")
        lines += hanging([(default, "")], ("default  ", "dim"), width)
        if self.field.key in self._form.texts and self.resolved.start is not None:
            before = self._form.value_in(self.field, self.resolved.start)
            lines += hanging(
                [(shown(before, 200) or "left out", ""), ("   r sets it back", "dim")], ("was      ", "dim"), width
            )
        return lines

    def _choices(self, width: int, height: int) -> list[Line]:
        """The suggestions around the chosen one."""
        top = max(0, min(self.chosen - height // 2, len(self.suggestions) - height))
        lines: list[Line] = []
        current = self._form.text(self.field, self.resolved.recipe) if self.field else ""
        names = min(width // 2, max((cell_len(each.value) for each in self.suggestions), default=0))
        for number, each in enumerate(self.suggestions[top : top + height], top):
            here = number == self.chosen if self.editing else each.value == current
            role = ("cursor" if self.editing else "accent") if here else ""
            head = "▸ " if here else "  "
            name = shown(each.value) or "left out"
            if not each.about:
                name = cut_start(name, width - 2)
                lines.append([(cell(head + name, width) if here else head + name, role)])
                continue
            about = cut(shown(each.about), width - names - 4)
            lines.append([(head + cell(name, names) + "  ", role), (about, role if here and self.editing else "dim")])
        return lines


class ForecastPane(Pane):
    """What the recipe will take on this machine."""

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002
        super().__init__(id=id)
        self.forecast: Forecast | None = None
        self.pending = True
        self.problems = 0

    def heading(self, width: int) -> Line:
        note = "  computing …" if self.pending else "  without the fields marked ✗" if self.problems else ""
        return [("prediction for this machine", "title"), (note, "dim")]

    def lines(self, width: int, height: int) -> list[Line]:
        if self.forecast is None:
            return [] if self.pending else [[("There is none before the fields marked ✗ are right.", "dim")]]
        forecast = self.forecast
        wrong: list[Line] = []
        for problem in forecast.problems:
            wrong += hanging([(shown(problem, 400), "bad")], ("✗ ", "bad"), width)
        if height < 5:
            return [*wrong[: height - 1], *([(part, "")] for part in wrap(forecast.short, width))]
        lines: list[Line] = []
        for name, value in forecast.rows:
            lines += hanging([(value, "")], (cell(name, 12), "dim"), width)
        lines = [*wrong, *lines]
        details: list[Line] = [[], [("by part", "dim")]]
        for name, value in forecast.details:
            details += hanging([(value, "dim")], (cell(name, 12), "dim"), width)
        return lines + details if len(lines) + len(details) <= height else lines


class CommandPane(ScrollPane):
    """The command line that does the same as the form."""

    HELP: ClassVar[str] = "The command that starts the same run from a shell."

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002
        super().__init__(id=id)
        self.command = ""

    def heading(self, width: int) -> Line:
        return spread([("the same as a command", "title")], [("y copies it", "dim")], min(width, 50))

    def content(self, width: int) -> list[Line]:
        return [[(part, "")] for part in wrap(shown(self.command), width)]
