"""Names of runs: which run directories exist, and which of them a name given by the user means. Imports no torch.

A run directory is named YYYYMMDD-HHMMSS-NAME-XXXX, which is the id of the run.
"""

from __future__ import annotations

import datetime
import os
import re
import secrets
from collections.abc import Iterable

from core.errors import UsageError, did_you_mean
from core.storage.workspace import Workspace

_RUN_ID = re.compile(r"\d{8}-\d{6}-(.+)-[0-9a-f]{4}\Z")


class RunNotFoundError(UsageError):
    doing = "find the run"


def new_id(name: str, made_at: float) -> str:
    """An id of that name that no other run or study has. made_at: seconds since the epoch."""
    stamp = datetime.datetime.fromtimestamp(made_at).strftime("%Y%m%d-%H%M%S")
    return f"{stamp}-{name}-{secrets.token_hex(2)}"


def run_ids(workspace: Workspace) -> list[str]:
    """The names of all run directories, newest first."""
    try:
        with os.scandir(workspace.runs) as entries:
            ids = (entry.name for entry in entries if not entry.name.startswith(".") and entry.is_dir())
            return sorted(ids, reverse=True)
    except FileNotFoundError:
        return []


def name_of_run(run_id: str) -> str:
    """The name in the id of a run; the id itself if it has another form."""
    found = _RUN_ID.match(run_id)
    return found[1] if found else run_id


def match_runs(query: str | None, ids: Iterable[str]) -> list[str]:
    """Those of `ids`, newest first, that `query` means: at least one.

    query: an id, a name (all runs of that name), or the start of either, in any case; None: every run. Raises
    RunNotFoundError, with the nearest name, if none matches or if a start matches several.
    """
    ids = list(ids)
    if not ids:
        raise RunNotFoundError("there are no runs yet", todo="start one: llmtui demo, or llmtui run PATH")
    if query is None:
        return ids
    if not query.strip():  # an unset variable of a script; every name starts with the empty string
        raise RunNotFoundError("the name of the run is empty", todo="`llmtui ls` lists the runs")
    wanted = query.lower()
    if wanted in ids:
        return [wanted]
    if named := [run_id for run_id in ids if name_of_run(run_id) == wanted]:
        return named
    found = [run_id for run_id in ids if run_id.startswith(wanted) or name_of_run(run_id).startswith(wanted)]
    if len(found) > 1:
        raise RunNotFoundError(f"{query!r} fits {len(found)} runs", todo="one of " + ", ".join(found[:5]))
    if not found:
        names = [name for run_id in ids for name in (name_of_run(run_id), run_id)]
        todo = did_you_mean(wanted, names) or "`llmtui ls` lists them"
        raise RunNotFoundError(f"there is no run {query!r}", todo=todo)
    return found
