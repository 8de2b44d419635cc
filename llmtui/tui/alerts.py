"""Notifying the user that a run or a study has ended: bell, title, desktop notice."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from core.runs.directory import RunState
from llmtui.tui.settings import Settings
from llmtui.tui.terminal import BELL, desktop_notice, set_title
from llmtui.view.alert_text import end_notice, ended_title, title
from llmtui.view.run_snapshot import RunSnapshot
from llmtui.view.run_text import ended_by

if TYPE_CHECKING:
    from llmtui.view.study_snapshot import StudySnapshot

_ENDED = (RunState.DONE, RunState.FAILED, RunState.INTERRUPTED, RunState.STOPPED)


class Alerts:
    """Compares the runs and the studies with what they were before.

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
        self._studies: dict[str, tuple[bool, bool]] = {}
        """By id of a study, whether it had a controller, and a problem, at the last look."""
        self._ended = ""
        """The title for the run or study that ended last."""
        self._title: str | None = None
        """As last written; None while the terminal still has its own."""

    def update(self, snapshots: Sequence[RunSnapshot], selected_id: str) -> None:
        """Alert the user to runs that have ended. snapshots: newest first.

        selected_id: the run that the screen is about, which shows its end itself.
        """
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

    def update_studies(self, studies: Sequence[StudySnapshot], shown_id: str) -> None:
        """Alert the user to studies that have ended or need attention. shown_id: the one that is on the screen."""
        from llmtui.view.study_alert import study_notice  # most users have no study

        before, self._studies = self._studies, {}
        for study in studies:
            now = study.state in ("running", "paused"), bool(study.problem)
            self._studies[study.id] = now
            text = study_notice(study, *before[study.id]) if before.get(study.id, now) != now else ""
            if text:
                self._ended = text.partition(":")[0]
                self._alert(text, "bad" if study.state != "done" else "good", study.id == shown_id)

    def _on_end(self, snapshot: RunSnapshot, selected_id: str) -> None:
        self._ended = ended_title(snapshot)
        by_hand = snapshot.state is RunState.STOPPED and not ended_by(snapshot)
        if by_hand or snapshot.run.file.study is not None:
            return
        bad = snapshot.state in (RunState.FAILED, RunState.INTERRUPTED)
        self._alert(end_notice(snapshot), "bad" if bad else "good", snapshot.run.id == selected_id)

    def _alert(self, text: str, role: str, is_shown: bool) -> None:
        """is_shown: the screen says it already."""
        if not is_shown:
            self._notice(text, role)
        if self._settings().bell:
            self._write(BELL)
        if self._settings().desktop_notices:
            self._write(desktop_notice(text, os.environ))
