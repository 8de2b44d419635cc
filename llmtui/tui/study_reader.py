"""Reads the studies of a workspace, those that have changed."""

from __future__ import annotations

import threading

from core.storage.workspace import Workspace
from core.tune.lookup import study_ids
from core.tune.study import InvalidStudyError, studies_directory
from llmtui.view.study_snapshot import StudySnapshot, change_key, take_study_snapshot


class StudyReader:
    """Keeps the snapshots between two readings."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace, self._lock = workspace, threading.Lock()
        self._known: dict[str, tuple[object, StudySnapshot]] = {}
        """By id, the `change_key` of a study and its snapshot then."""

    def read(self) -> list[StudySnapshot]:
        """All studies, the newest first. For any thread; a second one waits for the first."""
        with self._lock:
            return self._read()

    def _read(self) -> list[StudySnapshot]:
        found: dict[str, tuple[object, StudySnapshot]] = {}
        for name in study_ids(self._workspace):
            path = studies_directory(self._workspace) / name
            key_before, before = self._known.get(name, (None, None))
            try:
                key = change_key(path)
                found[name] = key, before if before and key == key_before else take_study_snapshot(path)
            except FileNotFoundError:
                continue  # deleted meanwhile
            except OSError as error:
                why = (error.strerror or str(error)).lower()
                found[name] = None, StudySnapshot(name, None, InvalidStudyError(why, where=str(path)))
        self._known = found
        return [snapshot for _, snapshot in found.values()]
