"""The settings of config.toml in a dialog, made of their annotations; a change applies at once and is written there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import Input, Static

from core.recipe.fields import Field
from llmtui.tui.recipe_form import value_text
from llmtui.tui.screens.dialogs import Dialog
from llmtui.tui.session import Session
from llmtui.tui.settings import SettingNotChanged, Settings, setting_fields, typed_setting
from llmtui.tui.theming import DEFAULT as DEFAULT_THEME
from llmtui.tui.widgets.list_pane import ListPane
from llmtui.view.lines import Line, cell, cut
from llmtui.view.sanitize import shown, shown_path

_NEXT_START = ("mouse", "smoothing")
"""Settings that are read when the workbench starts."""


class SettingsList(ListPane[Field]):
    """One line for each setting: its name, its value, and whether that is the default."""

    HELP: ClassVar[str] = "The settings of config.toml. A change applies at once and is written there."
    KEYS: ClassVar[tuple[tuple[str, str], ...]] = (
        *ListPane.KEYS,
        ("← →", "Previous and next value of a choice."),
        ("enter", "Type a value."),
        ("backspace", "Return to the default."),
    )
    FRAMED: ClassVar[bool] = False

    def __init__(self, session: Session, theme: str) -> None:
        """theme: the one in use."""
        super().__init__()
        self._session, self.theme = session, theme
        self.items = setting_fields()

    def on_mount(self) -> None:
        self.styles.height = len(self.items)

    def value(self, field: Field) -> Any:
        """What a setting is now."""
        return getattr(self._session.settings, field.name)

    def _in_force(self, field: Field) -> str:
        """The value that applies, also where the setting is left out."""
        if field.name == "theme":
            return f"{self.theme}, chosen with t" if self._session.ui_state.theme else self.theme
        return f"{1 / self._session.watcher.period:g}" if field.name == "refresh_hz" else value_text(self.value(field))

    def key(self, item: Field) -> str:
        return item.name

    def row(self, item: Field, cells: int) -> Line:
        is_default = self.value(item) == getattr(Settings(), item.name)
        names = min(20, cells // 2)
        text = cut(shown(self._in_force(item)), cells - names - 2)
        return [
            ("  " if is_default else "● ", "accent"),
            (cell(item.name, names), ""),
            (text, "dim" if is_default else ""),
        ]


class SettingsDialog(Dialog[None]):
    """All settings; the one under the cursor is explained below them."""

    AUTO_FOCUS: ClassVar[str] = "SettingsList"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "close"),
        Binding("q,P", "leave"),
        Binding("right", "step(1)"),
        Binding("left", "step(-1)"),
        Binding("enter", "edit"),
        Binding("backspace,delete", "reset"),
        Binding("?,f1", "app.app_help", id="app.help"),
    ]

    def __init__(
        self, session: Session, themes: Sequence[str], theme: str, apply: Callable[[str], None], name: str = ""
    ) -> None:
        """themes: their names; theme: the one in use. apply: called with the name of a setting that was changed.
        name: of the setting that the cursor is on first."""
        super().__init__()
        self._session, self._themes, self._apply, self._first = session, themes, apply, name
        self._list = SettingsList(session, theme)

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog -settings"):
            yield Static("Settings", classes="title")
            yield self._list
            yield Input()
            yield Static("", classes="problem")
            yield Static("", id="about", classes="detail")
            hint = "← → change · enter types a value · backspace the default · esc closes"
            yield Static(Content(hint), classes="hint")

    def on_mount(self) -> None:
        self.query_one(Input).display = False
        self._list.highlight(self._first or self._list.items[0].name)
        self._show()

    @property
    def _field(self) -> Field:
        return self._list.highlighted or self._list.items[0]

    @on(SettingsList.Highlighted)
    def _show(self) -> None:
        field = self._field
        default = DEFAULT_THEME if field.name == "theme" else shown(value_text(field.default))
        takes = ", ".join(self._themes) if field.name == "theme" else field.allowed
        later = " It applies from the next start." if field.name in _NEXT_START else ""
        file = shown_path(self._session.workspace.config / "config.toml")
        rows = [("takes", takes), ("default", default), ("written to", file)]
        text = "\n".join([field.description + later, *(f"{name:<12}{value}" for name, value in rows if value)])
        self.query_one("#about", Static).update(Content(shown(text, lines=True)))
        self._say("")
        self._list.update()

    def _say(self, problem: str) -> None:
        line = self.query_one(".problem", Static)
        line.update(Content(shown(problem)))
        line.display = bool(problem)

    # -- changes --------------------------------------------------------------------------------------------------

    async def _change(self, field: Field, value: Any) -> None:
        try:
            await self._session.change_setting(field.name, value)
        except SettingNotChanged as error:
            self._say("; ".join(part for part in (f"Not changed: {error.what}", error.kept) if part))
            return
        self._apply(field.name)
        if field.name == "theme":
            self._list.theme = self._session.settings.theme or DEFAULT_THEME
        self._show()

    async def action_step(self, by: int) -> None:
        field = self._field
        choices: Sequence[str] = self._themes if field.name == "theme" else field.choices
        if not choices:
            self._say("It has no list of values: enter types one.")
            return
        now = self._list.theme if field.name == "theme" else value_text(self._list.value(field))
        index = choices.index(now) if now in choices else 0
        await self._change(field, typed_setting(field, choices[(index + by) % len(choices)]))

    async def action_reset(self) -> None:
        await self._change(self._field, None)

    def action_edit(self) -> None:
        box = self.query_one(Input)
        box.value = value_text(self._list.value(self._field))
        box.placeholder = self._field.allowed
        box.display = True
        box.focus()

    @on(Input.Changed)
    def _typed(self, message: Input.Changed) -> None:
        if message.input.display:
            self._say(self._problem(message.value))

    def _problem(self, text: str) -> str:
        """What is wrong with a text for the setting under the cursor; empty: nothing."""
        if self._field.name == "theme" and text.strip() not in ("", *self._themes):
            return f"there is no theme {text.strip()!r}"
        try:
            typed_setting(self._field, text)
        except SettingNotChanged as error:
            return error.what
        return ""

    @on(Input.Submitted)
    async def _take(self, message: Input.Submitted) -> None:
        if problem := self._problem(message.value):
            self._say(problem)
            return
        self._end_edit()
        value = typed_setting(self._field, message.value)
        await self._change(self._field, None if value == "" else value)

    def _end_edit(self) -> None:
        self.query_one(Input).display = False
        self._list.focus()
        self._say("")

    def action_close(self) -> None:
        if self.query_one(Input).display:
            self._end_edit()
        else:
            self.dismiss(None)

    def action_leave(self) -> None:
        self.dismiss(None)
