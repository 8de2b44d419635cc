"""What all screens have in common: session, footer and notices; showing a screen, a notice, an error, the log."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, ClassVar, cast

from textual.app import App, ComposeResult
from textual.screen import Screen
from textual.widgets import Input

from core.errors import LlmtuiError
from core.runs.directory import Run
from llmtui.tui.action_table import Scope
from llmtui.tui.screens.cancels_workers import CancelsWorkers
from llmtui.tui.session import PastNotice, Session, SessionApp
from llmtui.tui.widgets.bars import FooterBar, Notice
from llmtui.tui.widgets.pane import Pane
from llmtui.view.run_snapshot import RunSnapshot
from llmtui.view.sanitize import shown

_SWITCHED = 2
"""Screens at the bottom of the stack: Textual's own, and the one that is switched."""


def show_screen(app: App[Any], name: str) -> None:
    """Switch to the screen of that name in `llmtui.tui.screen_table`, and close those over the present one."""
    screen = app.get_screen(name)
    while len(app.screen_stack) > _SWITCHED and isinstance(app.screen, WorkbenchScreen):
        app.pop_screen()
    if app.screen is not screen:
        app.switch_screen(name)
        if isinstance(screen, WorkbenchScreen):
            screen.entered()


def show_notice(app: App[Any], text: str, role: str = "") -> None:
    """Show a sentence at the bottom of the current screen, or of the one below the dialogs."""
    screen = next((screen for screen in reversed(app.screen_stack) if isinstance(screen, WorkbenchScreen)), None)
    if screen is not None:
        screen.show_notice(text, role)


def show_error(app: App[Any], error: LlmtuiError, run: Run | None = None) -> None:
    """Show `error` in a dialog over the current screen. run: whose log may say more."""
    from llmtui.tui.screens.dialogs import ErrorDialog

    def on_closed(answer: str | None) -> None:
        if answer == "log" and run is not None:
            cast(SessionApp, app).session.select(run)
            show_log(app)

    app.push_screen(ErrorDialog(error, has_log=run is not None), on_closed)


def copy_text(app: App[Any], text: str, what: str = "", say: Callable[[str], None] | None = None) -> None:
    """See `SessionApp.copy`."""
    cast(SessionApp, app).copy(text, what, say)


def show_log(app: App[Any]) -> None:
    """Show the selected run's log, at the reason if it has failed."""
    from llmtui.tui.screens.logs import Logs

    screen = cast(Logs, app.get_screen("logs"))
    snapshot = cast(SessionApp, app).session.selected
    if snapshot and snapshot.failure:
        screen.show_failure()
    show_screen(app, "logs")


class WorkbenchScreen(CancelsWorkers, Screen[None]):
    """A screen with the keys of its actions in the last line and notices above them."""

    SCOPE: ClassVar[Scope]

    @property
    def session(self) -> Session:
        return cast(SessionApp, self.app).session

    @property
    def snapshot(self) -> RunSnapshot | None:
        """The run that this screen and its actions are about."""
        return self.session.selected

    def entered(self) -> None:
        """Called when the user comes from another screen; not when a dialog over this one closes."""

    def compose_footer(self) -> ComposeResult:
        """The footer, and the notices above it."""
        yield FooterBar(self.SCOPE, self.is_available, self.session.keymap)
        yield Notice()

    def show_notice(self, text: str, role: str = "") -> None:
        """Show a sentence for some seconds: what was just done, or why it cannot be done."""
        if self.is_mounted:
            self.query_one(Notice).show_text(shown(text), role)
            self.session.notices.append(PastNotice(time.time(), text, role))
        else:
            self.call_after_refresh(self.show_notice, text, role)

    def action_app_copy(self) -> None:
        """Copy what has the focus: the row of a list, the values of a chart, the text of a pane or a field."""
        focused = self.focused or next((pane for pane in self.query(Pane) if pane.focusable), None)
        text = focused.value if isinstance(focused, Input) else focused.copied if isinstance(focused, Pane) else ""
        if text:
            copy_text(self.app, text)
        else:
            self.show_notice("There is nothing to copy here.", "warn")

    def is_available(self, action: str) -> bool:
        """Whether footer and palette offer the action with that id now."""
        return True
