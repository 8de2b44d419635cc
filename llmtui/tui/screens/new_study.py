"""Starting a study from the screens: its dialog, the notice of its corpus, and its screen."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, cast

from textual.app import App

from core.errors import LlmtuiError
from core.recipe.schema import Recipe
from llmtui.tui.screens.run_screen import after_consent
from llmtui.tui.screens.study_dialogs import NewStudy
from llmtui.tui.screens.workbench_screen import show_error, show_notice, show_screen
from llmtui.tui.session import SessionApp


def ask_for_study(app: App[Any], recipe: Recipe, on_start: Callable[[], None] = lambda: None) -> None:
    """Ask for the settings of a study of `recipe`, then start it and show it. on_start: called before it starts."""

    async def start(settings: Mapping[str, Any]) -> None:
        session = cast(SessionApp, app).session
        try:
            study = await session.create_study(recipe, settings)
        except LlmtuiError as error:
            show_error(app, error)
        else:
            show_screen(app, "study")
            show_notice(app, f"{study.name} has started: its trials are runs, which go on without the workbench.")

    def on_answer(settings: dict[str, Any] | None) -> None:
        if settings is not None:
            after_consent(app, recipe, lambda: begin(settings))

    def begin(settings: Mapping[str, Any]) -> None:
        on_start()
        app.run_worker(start(settings), exit_on_error=True)

    app.push_screen(NewStudy(recipe), on_answer)
