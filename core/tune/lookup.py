"""Which study a name, an id or the start of one means."""

from __future__ import annotations

from pathlib import Path

from core.errors import UsageError, did_you_mean
from core.run_names import name_of_run
from core.storage.workspace import Workspace
from core.tune.study import studies_directory


class StudyNotFoundError(UsageError):
    doing = "find the study"


def study_ids(workspace: Workspace) -> list[str]:
    """The names of all directories of studies, newest first."""
    try:
        found = [path.name for path in studies_directory(workspace).iterdir() if path.is_dir()]
    except OSError:
        return []
    return sorted((name for name in found if not name.startswith(".")), reverse=True)


def find_study(workspace: Workspace, query: str | None = None) -> Path:
    """The directory of the newest study that `query` means: an id, a name, or the start of either.

    None: the newest of all. Raises StudyNotFoundError.
    """
    ids = study_ids(workspace)
    if not ids:
        raise StudyNotFoundError("there are no studies yet", todo="start one: llmtui tune RECIPE --trials 20")
    wanted = (query or "").lower()
    found = [each for each in ids if each.startswith(wanted) or name_of_run(each).startswith(wanted)]
    exact = [each for each in found if wanted in (each, name_of_run(each))]
    if not found:
        todo = did_you_mean(wanted, [name_of_run(each) for each in ids]) or "`llmtui tune ls` lists them"
        raise StudyNotFoundError(f"there is no study {query!r}", todo=todo)
    return studies_directory(workspace) / (exact or found)[0]
