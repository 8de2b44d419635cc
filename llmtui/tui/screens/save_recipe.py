"""A dialog that saves a recipe as a file."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import Input, Static

from core.errors import LlmtuiError
from core.recipe.schema import Recipe
from llmtui.tui.recipe_export import RecipeExistsError, save_recipe
from llmtui.tui.screens.dialogs import Dialog
from llmtui.view.sanitize import shown


class SaveRecipe(Dialog[Path | None]):
    """Asks for the name of the file; an existing one is replaced only if enter is pressed twice."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "close")]

    def __init__(self, recipe: Recipe) -> None:
        super().__init__()
        self._recipe = recipe
        self._replace = ""
        """The name that has been confirmed to be replaced."""

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog"):
            yield Static("Save the recipe as a TOML file", classes="title")
            yield Input(f"{self._recipe.name}.toml", placeholder="a file whose name ends in .toml")
            yield Static("", classes="problem")
            yield Static("enter saves it · esc leaves", classes="hint")

    @on(Input.Changed)
    def _changed(self) -> None:
        self._show("")

    @on(Input.Submitted)
    async def _save(self, message: Input.Submitted) -> None:
        name = message.value.strip()
        try:
            path = await asyncio.to_thread(save_recipe, self._recipe, name, replace=self._replace == name)
        except RecipeExistsError:
            self._show("The file exists already: enter again replaces it.")
            self._replace = name
        except LlmtuiError as error:
            self._show(error.what + (f"; {error.todo}" if error.todo else ""))
        else:
            self.dismiss(path)

    def _show(self, problem: str) -> None:
        self._replace = ""
        self.query_one(".problem", Static).update(Content(shown(problem, 600)))

    def action_close(self) -> None:
        self.dismiss(None)
