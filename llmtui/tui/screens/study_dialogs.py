"""Dialogs about studies: starting one, inserting a trial, editing study.toml."""

from __future__ import annotations

import asyncio
import shlex
from pathlib import Path
from typing import Any, ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.widgets import Input, Static, TextArea

from core.errors import DiskError, LlmtuiError
from core.parsing import ParseError, parse_toml
from core.recipe.checks import RecipeError
from core.recipe.overrides import override
from core.recipe.schema import Recipe
from core.storage.files import write_atomic
from core.tune.constraints import require_possible
from core.tune.default_space import default_space
from core.tune.space import Values, typed_values
from core.tune.start import DEFAULT_TRIALS, complete_settings
from core.tune.study_file import StudyFileError, parse_study, space_text
from llmtui.tui.screens.dialogs import Dialog
from llmtui.tui.widgets.form_panes import problem_text
from llmtui.view.sanitize import shown

SAVE_KEY = "ctrl+r"
"""Ends an editor of several lines, in which enter starts a new line; as it starts a run in the form."""


class TextEditor(TextArea):
    """A text of several lines in a dialog."""

    def __init__(self, text: str, *, id: str | None = None) -> None:  # noqa: A002
        super().__init__(text, show_line_numbers=False, soft_wrap=True, tab_behavior="focus", id=id)
        self.cursor_blink = False


class NewStudy(Dialog[dict[str, Any] | None]):
    """Limits and search space of a study of `recipe`; the result are its settings, as study.toml has them."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "close", priority=True),
        Binding(SAVE_KEY, "start", priority=True),
    ]

    def __init__(self, recipe: Recipe) -> None:
        super().__init__()
        self._recipe = recipe

    def compose(self) -> ComposeResult:
        limits = (
            ("trials", str(DEFAULT_TRIALS), "empty: no limit"),
            ("minutes", "", "of training of all trials together; empty: no limit"),
            ("parallel", "1", "trials at once"),
        )
        with Vertical(classes="dialog -study"):
            yield Static(Content(f"Study of {shown(self._recipe.name, 64)}"), classes="title")
            yield Static(Content(_length_of_trials(self._recipe)), classes="detail")
            for name, value, about in limits:
                with Horizontal(classes="field"):
                    yield Static(name, classes="label")
                    yield Input(value, placeholder=about, id=name, max_length=12)
            yield Static("search space: ranges and lists of values", classes="detail")
            yield TextEditor(space_text(default_space(self._recipe)), id="space")
            yield Static("", classes="problem")
            yield Static("ctrl+r starts it · tab next field · esc leaves", classes="hint")

    @on(Input.Submitted)
    def action_start(self) -> None:
        try:
            settings = self._settings()
            complete_settings(settings, self._recipe, "the settings")
        except LlmtuiError as error:
            self.query_one(".problem", Static).update(Content(problem_text(error)))
        else:
            self.dismiss(settings)

    def _settings(self) -> dict[str, Any]:
        settings: dict[str, Any] = {}
        for name, kind in (("trials", int), ("minutes", float), ("parallel", int)):
            text = self.query_one(f"#{name}", Input).value.strip()
            if not text:
                continue
            try:
                settings[name] = kind(text)
            except ValueError:
                raise StudyFileError(f"{name} = {text} is not a number") from None
        if not settings.keys() & {"trials", "minutes"}:
            raise StudyFileError("it has no end", todo="limit it by trials, or by minutes of training")
        try:
            settings["space"] = parse_toml(self.query_one("#space", TextEditor).text)
        except ParseError as error:
            raise StudyFileError(f"the search space: {error}") from None
        return settings

    def action_close(self) -> None:
        self.dismiss(None)


def _length_of_trials(recipe: Recipe) -> str:
    train = recipe.train
    if train.minutes is not None:
        limit = f"{train.minutes:g} minutes"
    elif train.tokens is not None:
        limit = f"{train.tokens:,} tokens"
    else:
        limit = f"{train.steps:,} steps" if train.steps is not None else "as long as its recipe says"
    return f"Each trial trains for {limit}, the limit of the recipe."


class TrialValues(Dialog[Values | None]):
    """Asks for the values of a trial; the result is checked against the recipe of the study."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "close")]

    def __init__(self, title: str, recipe: Recipe, values: Values) -> None:
        super().__init__()
        self._title, self._recipe = title, recipe
        self._text = " ".join(override(key, value).replace(" ", "") for key, value in values.items())

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog"):
            yield Static(Content(shown(self._title)), classes="title")
            yield Static(
                "Fields of the recipe, such as train.lr=3e-4 model.n_layer=6; the others stay.", classes="detail"
            )
            yield Input(self._text, placeholder="FIELD=VALUE FIELD=VALUE …")
            yield Static("", classes="problem")
            yield Static("enter inserts it · esc leaves", classes="hint")

    @on(Input.Submitted)
    def _entered(self, message: Input.Submitted) -> None:
        try:
            words = shlex.split(message.value, posix=False)
        except ValueError as error:
            self._show(f"that cannot be read: {str(error).lower()}")
            return
        if not words:
            self._show("it names no field")
            return
        try:
            values = typed_values(self._recipe, words)
        except RecipeError as error:
            self._show(problem_text(error))
        else:
            self.dismiss(values)

    def _show(self, problem: str) -> None:
        self.query_one(".problem", Static).update(Content(shown(problem, 600)))

    def action_close(self) -> None:
        self.dismiss(None)


class StudySettings(Dialog[bool]):
    """Edits the text of study.toml, which is checked before it is written; the result is whether it was."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "close", priority=True),
        Binding(SAVE_KEY, "save", priority=True),
    ]

    def __init__(self, path: Path, recipe: Recipe, text: str) -> None:
        super().__init__()
        self._path, self._recipe, self._text = path, recipe, text

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog -study"):
            yield Static("study.toml", classes="title")
            yield TextEditor(self._text, id="text")
            yield Static("", classes="problem")
            yield Static("ctrl+r saves it · esc leaves it as it was", classes="hint")

    async def action_save(self) -> None:
        text = self.query_one(TextEditor).text

        def save() -> None:
            file, space = parse_study(text, self._recipe, self._path.name)
            require_possible(file, space, self._recipe, self._path.name)
            write_atomic(self._path, text.encode(errors="replace"))

        try:
            await asyncio.to_thread(save)
        except LlmtuiError as error:
            self._show(error)
        except OSError as error:
            self._show(DiskError.from_oserror(error, self._path))
        else:
            self.dismiss(True)

    def _show(self, error: LlmtuiError) -> None:
        self.query_one(".problem", Static).update(Content(problem_text(error)))

    def action_close(self) -> None:
        self.dismiss(False)
