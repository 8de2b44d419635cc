"""Notifying the user that a run has ended: bell, title, desktop notice."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

from core.runs.directory import RunState
from llmtui.tui.settings import Settings
from llmtui.tui.terminal import BELL, desktop_notice, set_title
from llmtui.view.alert_text import end_notice, title
from llmtui.view.run_snapshot import RunSnapshot
from llmtui.view.run_text import ended_by

_ENDED = (RunState.DONE, RunState.FAILED, RunState.INTERRUPTED, RunState.STOPPED)


class Alerts:
    """Compares the runs with what they were before.

    What the user stopped himself is no alert, and neither is a trial of a study: there may be hundreds.
    """

    def __init__(
        self, settings: Callable[[], Settings], write: Callable[[str], object], notice: Callable[[str, str], object]
    ) -> None:
        """
        settings: the present ones. write: sends a sequence to the terminal.
        notice: shows a text, with its role, in the workbench.
        """
        self._settings, self._write, self._notice = settings, write, notice
        self._states: dict[str, RunState] = {}
        """By run id, at the last look."""
        self._ended: RunSnapshot | None = None
        """The last run that ended."""
        self._title: str | None = None
        """As last written; None while the terminal still has its own."""

    def update(self, snapshots: Sequence[RunSnapshot], selected_id: str) -> None:
        """Look at the runs; newest first. selected_id: the run that the screen is about, which shows its end itself."""
        for snapshot in snapshots:
            before = self._states.get(snapshot.run.id)
            if snapshot.state in _ENDED and before is not None and before not in _ENDED:
                self._on_end(snapshot, selected_id)
        self._states = {snapshot.run.id: snapshot.state for snapshot in snapshots}
        if self._settings().terminal_title:
            text = title(snapshots, selected_id, self._ended)
            if text != (self._title or ""):
                self._write(set_title(text, first=self._title is None))
                self._title = text

    def _on_end(self, snapshot: RunSnapshot, selected_id: str) -> None:
        self._ended = snapshot
        by_hand = snapshot.state is RunState.STOPPED and not ended_by(snapshot)
        if by_hand or snapshot.run.file.study is not None:
            return
        text = end_notice(snapshot)
        if snapshot.run.id != selected_id:
            self._notice(text, "bad" if snapshot.state in (RunState.FAILED, RunState.INTERRUPTED) else "good")
        if self._settings().bell:
            self._write(BELL)
        if self._settings().desktop_notices:
            self._write(desktop_notice(text, os.environ))
