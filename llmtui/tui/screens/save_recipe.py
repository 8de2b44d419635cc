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

from core.recipe.file import to_toml
from core.recipe.schema import Recipe
from core.storage.files import write_atomic
from llmtui.tui.screens.dialogs import Dialog
from llmtui.view.sanitize import shown


class SaveRecipe(Dialog[Path | None]):
    """Asks for the name of the file; an existing one is replaced only if enter is pressed twice."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "close")]

    def __init__(self, recipe: Recipe) -> None:
        super().__init__()
        self._recipe = recipe
        self._replace = ""
        """The path that has been confirmed to be replaced."""

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog"):
            yield Static("Save as a recipe file", classes="title")
            yield Input(f"{self._recipe.name}.toml", placeholder="a file whose name ends in .toml")
            yield Static("", classes="problem")
            yield Static("enter saves it · esc leaves", classes="hint")

    @on(Input.Changed)
    def _changed(self) -> None:
        self._show("")

    @on(Input.Submitted)
    async def _save(self, message: Input.Submitted) -> None:
        name = message.value.strip()
        if not name.endswith(".toml"):
            self._show("Its name has to end in .toml: that is how commands tell a recipe from a source.")
            return
        path = Path(name).expanduser().absolute()
        try:
            if await asyncio.to_thread(path.exists) and self._replace != name:
                self._show("There is such a file: enter again replaces it.")
                self._replace = name
                return
            await asyncio.to_thread(write_atomic, path, to_toml(self._recipe).encode())
        except OSError as error:
            self._show(f"It cannot be written: {(error.strerror or str(error)).lower()}.")
        else:
            self.dismiss(path)

    def _show(self, problem: str) -> None:
        self._replace = ""
        self.query_one(".problem", Static).update(Content(shown(problem)))

    def action_close(self) -> None:
        self.dismiss(None)
