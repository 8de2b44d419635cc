"""The form for a new run: source, preset, duration, name."""

from __future__ import annotations

import json
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Input, Static

from core.errors import LlmtuiError
from core.init.resolve import Resolver
from core.recipe.checks import RecipeError
from core.recipe.file import load, presets
from core.recipe.schema import Recipe
from core.sources.catalog import BUILT_IN, resolve_corpus, source_name
from core.storage.workspace import Workspace, check_name
from llmtui.tui.widgets.number_input import ChoiceInput
from llmtui.view.sanitize import shown

_FIELDS = {
    "source.corpus": ("source", "stdlib, stories, hf:NAME, URL, a path"),
    "train.minutes": ("minutes", "of training; empty: as the preset says"),
    "name": ("name", "empty: from the source"),
}


class NewRun(ModalScreen[Recipe | None]):
    """A form of four fields; enter in any of them starts the run."""

    CSS_PATH = "dialogs.tcss"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "close"),
        Binding("enter", "start"),
        Binding("down", "app.focus_next"),
        Binding("up", "app.focus_previous"),
    ]

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog -form"):
            yield Static("New run", classes="title")
            yield from self._field("source.corpus")
            with Horizontal(classes="field"):
                yield Static("preset", classes="label")
                yield ChoiceInput(sorted(presets(), key="small".__ne__), id="preset")  # small first: it fits any text
            yield from self._field("train.minutes")
            yield from self._field("name")
            yield Static("", classes="problem", id="problem-form")
            yield Static("enter starts it · ↑ ↓ move · ← → choose the preset · esc leaves", classes="hint")

    def _field(self, key: str) -> ComposeResult:
        label, hint = _FIELDS[key]
        with Horizontal(classes="field"):
            yield Static(label, classes="label")
            yield Input(placeholder=hint, id=label)
        yield Static("", classes="problem", id=f"problem-{label}")

    def on_mount(self) -> None:
        self.query_one("#source").focus()

    @on(Input.Changed)
    def _clear_problem(self, message: Input.Changed) -> None:
        self._show_problem(message.input.id or "form", None)

    @on(Input.Submitted)
    def _submitted(self) -> None:
        self.action_start()

    def action_start(self) -> None:
        values = {key: self.query_one(f"#{label}", Input).value.strip() for key, (label, _) in _FIELDS.items()}
        for label, _ in _FIELDS.values():
            self._show_problem(label, None)
        try:
            recipe = self._recipe(values)
        except LlmtuiError as error:
            key = next((key for key in _FIELDS if key in f"{error.where} {error.what}"), "")
            self._show_problem(_FIELDS[key][0] if key else "form", error)
        else:
            self.dismiss(recipe)

    def _recipe(self, values: dict[str, str]) -> Recipe:
        """The recipe of the form. Raises LlmtuiError, whose `where` or `what` names the field."""
        corpus = resolve_corpus(values["source.corpus"] or BUILT_IN[0])
        try:
            name = check_name(values["name"] or source_name(corpus))
        except LlmtuiError as error:
            raise RecipeError(error.what, where="name", todo=error.todo) from None
        # a JSON string is a TOML string too, whatever characters the path contains
        overrides = [f"source.corpus={json.dumps(corpus)}", f"name={json.dumps(name)}"]
        overrides += [f"train.minutes={values['train.minutes']}"] if values["train.minutes"] else []
        return load(preset=self.query_one(ChoiceInput).value, overrides=overrides, init=Resolver(Workspace()))

    def _show_problem(self, label: str, error: LlmtuiError | None) -> None:
        problem = self.query_one(f"#problem-{label}", Static)
        text = "" if error is None else error.what + (f"; {error.todo}" if error.todo else "")
        problem.update(Content(shown(text, 400)))
        problem.set_class(bool(text), "-shown")
        if error is not None and label != "form":
            self.query_one(f"#{label}").focus()

    def action_close(self) -> None:
        self.dismiss(None)
