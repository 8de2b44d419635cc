"""Opening the workbench: what has to be settled before Textual is imported."""

from __future__ import annotations

import os

from core.storage.workspace import Workspace

_SLOW_LINE = {"TEXTUAL_FPS": "15", "TEXTUAL_ANIMATIONS": "none", "TEXTUAL_SMOOTH_SCROLL": "0"}
"""Textual reads these when it is imported. Whoever has set them already knows better."""


def over_ssh() -> bool:
    """Whether the terminal is far away: every byte and every movement costs more there."""
    return any(os.environ.get(name) for name in ("SSH_CONNECTION", "SSH_TTY"))


def run_workbench(workspace: Workspace, open_run: str | None = None) -> int:
    """Show the workbench until it is left; the exit code.

    open_run: the run to begin with, as `core.runs.directory.find_run` takes it. Raises RunNotFoundError before
    anything is drawn.
    """
    if over_ssh():
        for name, value in _SLOW_LINE.items():
            os.environ.setdefault(name, value)
    from llmtui.tui.app import Workbench
    from llmtui.tui.driver import TerminalDriver

    app = Workbench(workspace, open_run=open_run, driver_class=TerminalDriver)
    mouse = app.settings.mouse
    app.run(mouse=mouse == "on" or (mouse == "auto" and app.near))
    return app.return_code or 0
