"""Starting the workbench from the command line."""

from __future__ import annotations

import gc

from core.storage.workspace import Workspace
from llmtui.tui.terminal import configure_textual


def run_workbench(workspace: Workspace, open_run: str | None = None) -> int:
    """Show the workbench until the user leaves it; returns the exit code.

    open_run: the run to show first, as `core.runs.lookup.find_run` takes it. Raises RunNotFoundError before
    the screen changes.
    """
    gc.disable()  # until the first frame: it takes a tenth of the time to there, and finds nothing
    configure_textual()
    from llmtui.tui.app import Workbench
    from llmtui.tui.driver import TerminalDriver

    app = Workbench(workspace, open_run=open_run, driver_class=TerminalDriver)
    app.run(mouse=app.session.mouse)
    return app.return_code or 0
