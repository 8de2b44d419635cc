"""The settings of the sampler: a line, or a list in which they are changed."""

from __future__ import annotations

from typing import ClassVar

from textual import events
from textual.message import Message

from llmtui.tui.widgets.list_pane import ListPane
from llmtui.view.lines import Line, cell, cut, joined, wrap
from llmtui.view.sampler_settings import (
    Row,
    SamplerSettings,
    SettingValueError,
    changed,
    parsed,
    reset,
    rows,
    stepped,
    summary,
    text_of,
)
from llmtui.view.sanitize import shown

_LABEL_CELLS = 20
_DESCRIPTION_ROWS = 2
"""Below the list, where the settings have no descriptions of their own."""


class SamplerPane(ListPane[Row]):
    """All settings where there is room, else one line, which becomes the list when it has the focus.

    ← → - + change the chosen one; typing a value, then enter, sets it; backspace returns to the recipe's.
    """

    HELP: ClassVar[str] = "The settings that the next reply is sampled with, in the order in which they are applied."
    KEYS: ClassVar[tuple[tuple[str, str], ...]] = (
        ("↑ ↓, j k", "Choose a setting."),
        ("← →, - +", "Change it by a step."),
        ("0 to 9, enter", "Type a value; enter sets it."),
        ("backspace", "Return to the recipe's value."),
    )

    class Changed(Message):
        """Posted when the user changed a setting."""

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002
        super().__init__(id=id)
        self.settings = self.recipe = SamplerSettings()
        self._typed: str | None = None
        """The value that is being typed, if one is."""
        self._problem = ""
        self._names: list[str] = []
        """Of the setting in each line, where each has its description below it."""
        self.show_settings(self.settings, self.recipe, masked=False)

    def show_settings(self, settings: SamplerSettings, recipe: SamplerSettings, *, masked: bool) -> None:
        """Show `settings`; those that differ from `recipe` are marked."""
        self.settings, self.recipe, self._typed, self._problem = settings, recipe, None, ""
        self.show_items(rows(masked=masked))

    def change(self, settings: SamplerSettings) -> None:
        """Replace the settings."""
        self.settings, self._problem = settings, ""
        self.post_message(self.Changed())
        self.update()

    def reset_all(self) -> None:
        """Return to the recipe's settings."""
        self._typed = None
        self.change(self.recipe)

    # -- drawing --------------------------------------------------------------------------------------------------

    def heading(self, width: int) -> Line:
        different = len(changed(self.settings, self.recipe))
        note = f"{different} not as in the recipe (*)" if different else "as in the recipe"
        return [("sampling", "title"), (f"  {note}", "dim")]

    def lines(self, cells: int, height: int) -> list[Line]:
        if height < 3:
            return [summary(self.settings, self.recipe, cells)]
        if height > 2 * len(self.items):
            explained = self._descriptions(cells, height - 1)
            self._names = [name for name, lines in explained for _ in lines]
            return [line for _, lines in explained for line in lines] + (
                self._about(cells)[-1:] if self.has_focus else []
            )
        self._names = []
        about = self._about(cells) if self.has_focus and height > 6 else []
        if self._problem and not about:
            about = [[(self._problem, "bad")]]
        return [*self.window(cells, height - len(about)), *about]

    def _descriptions(self, cells: int, height: int) -> list[tuple[str, list[Line]]]:
        """Each setting with a line of its description; the first ones, which are changed most, with all of it as far as
        `height` has room."""
        explained = {row.name: self._explained(row, cells, 1) for row in self.items}
        free = height - sum(len(lines) for lines in explained.values())
        for row in self.items:
            whole = self._explained(row, cells, height)
            more = len(whole) - len(explained[row.name])
            if more <= free:
                explained[row.name], free = whole, free - more
        return list(explained.items())

    def _explained(self, row: Row, cells: int, height: int) -> list[Line]:
        """A setting and what it does, in at most `height` lines."""
        line = self.row(row, cells)
        if row is self.highlighted:
            line = self._with_cursor(line, cells)
        parts = list(wrap(row.description, max(1, cells - 2)))
        if len(parts) > height:
            parts[height - 1 :] = [cut(" ".join(parts[height - 1 :]), max(1, cells - 2))]
        return [line, *([("  " + part, "dim")] for part in parts)]

    def _about(self, cells: int) -> list[Line]:
        """What the chosen setting does, or what is wrong with the value typed."""
        row = self.highlighted
        text, role = (self._problem, "bad") if self._problem else (row.description if row else "", "dim")
        if self._names and self._problem:
            return [[(self._problem, "bad")]]
        keys = joined([[("←→", "key"), (" change", "dim")], [("digits", "key"), (" set", "dim")],
                       [("enter", "key"), (" type", "dim")], [("⌫", "key"), (" recipe's", "dim")]], cells)  # fmt: skip
        parts = list(wrap(text, cells))[:_DESCRIPTION_ROWS]
        return [*([(part, role)] for part in parts), *[[]] * (_DESCRIPTION_ROWS - len(parts)), keys]

    def key(self, item: Row) -> str:
        return item.name

    def row(self, item: Row, cells: int) -> Line:
        different = item.name in changed(self.settings, self.recipe)
        if self._typed is not None and item is self.highlighted:
            return [(cell(item.label, min(_LABEL_CELLS, cells)), ""), (shown(self._typed) + "▏", "accent")]
        mark = "*" if different else " "
        text = shown(text_of(self.settings, item.name), 200) + mark
        line: Line = [(cell(item.label, min(_LABEL_CELLS, cells)), "dim"), (text, "bold" if different else "")]
        if different:
            recipe = f" recipe {shown(text_of(self.recipe, item.name), 200)}"
            line.append((cut(recipe, max(0, cells - _LABEL_CELLS - len(text))), "dim"))
        return line

    # -- keys -----------------------------------------------------------------------------------------------------

    def on_key(self, event: events.Key) -> None:
        row = self.highlighted
        if row is None:
            return
        if self._typed is None:
            step = {"left": -1, "minus": -1, "right": 1, "plus": 1}.get(event.key)
            if step:
                self.change(stepped(self.settings, row.name, step))
            elif event.character and (event.character.isdecimal() or event.character == "."):
                self._typed = event.character
            elif event.key == "enter":
                self._typed = ""
            elif event.key in ("backspace", "delete"):
                self.change(reset(self.settings, row.name, self.recipe))
            else:
                self._problem = ""
                return  # the list's own keys, and those of the screen
        elif not self._type(event, row):
            return
        self.update()
        event.stop()
        event.prevent_default()

    def _type(self, event: events.Key, row: Row) -> bool:
        """Handle a key while a value is typed; whether it is one for that."""
        assert self._typed is not None
        if event.key in ("enter", "up", "down", "tab", "shift+tab"):
            self._set(row)
            return event.key == "enter" or self._typed is not None  # a wrong value keeps the cursor
        if event.key == "escape":
            self._typed, self._problem = None, ""
        elif event.key == "backspace":
            self._typed = self._typed[:-1]
        elif event.character and event.is_printable:
            self._typed += event.character
        else:
            return False
        return True

    def _set(self, row: Row) -> None:
        typed = (self._typed or "").strip()
        try:
            if typed:
                self.change(parsed(self.settings, row.name, typed))
        except SettingValueError as error:
            self._problem = f"{error.what}; {error.todo}"
            return
        self._typed = None

    def on_click(self, event: events.Click) -> None:
        if not self._names:
            super().on_click(event)
        elif 0 <= event.y - 1 < len(self._names):
            self.highlight(self._names[event.y - 1])

    def on_blur(self) -> None:
        self._typed, self._problem = None, ""
