"""Which checkpoint of a run replies in the chat, and which one beside it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from core.checkpoints import best_checkpoint, step_of
from core.runs.directory import Run
from core.runs.remote_state import RemoteCheckpoint, inference_checkpoints, inference_paths, read_remote_state
from core.storage.artifact import Artifact
from llmtui.clients.remote_inference import is_remote
from llmtui.tui.run_chat import ComparedCheckpoint
from llmtui.tui.screens.picker import Choice
from llmtui.view import units
from llmtui.view.sanitize import shown

NEWEST = "newest"
"""The choice that follows the training."""

_Listed = tuple[str, tuple[str, ...], tuple[RemoteCheckpoint, ...]]
"""Run id, names in its directory of checkpoints, and those on its host, when the list was read."""


class CheckpointChoice:
    """The checkpoints of the run shown, and for each run the one that the user chose."""

    def __init__(self) -> None:
        self.checkpoints: list[Artifact] = []
        """Oldest first."""
        self._chosen: dict[str, str] = {}
        """By run id; without an entry the newest replies."""
        self._listed: _Listed = ("", (), ())

    def refresh(self, run: Run | None) -> None:
        """Read the list of checkpoints again if the run or its checkpoints changed."""
        if run is None:
            self.checkpoints, self._listed = [], ("", (), ())
            return
        seen = run.id, _names(run.checkpoints), read_remote_state(run.path).checkpoints if run.host else ()
        if seen != self._listed:
            self._listed = seen
            self.checkpoints = inference_checkpoints(run)

    def current(self, run: Run) -> Artifact | None:
        """The checkpoint that replies: the chosen one while it exists, else the newest."""
        if not self.checkpoints:
            return None
        chosen = self._chosen.get(run.id)
        return next((c for c in self.checkpoints if c.path.name == chosen), self.checkpoints[-1])

    def choose(self, run: Run, name: str) -> None:
        """Let the checkpoint of that name reply, or the newest of each moment for `NEWEST`."""
        if name == NEWEST:
            self._chosen.pop(run.id, None)
        else:
            self._chosen[run.id] = name

    def choices(self, run: Run) -> list[Choice]:
        """The newest, then each checkpoint, the newest first."""
        self.refresh(run)
        newest = [Choice(NEWEST, "newest", "follows the training")] if self.checkpoints else []
        return newest + [
            Choice(c.path.name, self.title(c), about_checkpoint(c) + self.where(run, c))
            for c in reversed(self.checkpoints)
        ]

    def where(self, run: Run, checkpoint: Artifact) -> str:
        """Where a checkpoint of the mirror of a run is, sanitised; empty for other runs."""
        host = shown(run.host, 20)
        return (f", on {host}" if is_remote(checkpoint.path) else ", copied here") if host else ""

    def value(self, run: Run) -> str:
        """The choice in force, as `choices` names it."""
        chosen = self._chosen.get(run.id, NEWEST)
        return chosen if any(c.path.name == chosen for c in self.checkpoints) else NEWEST

    def title(self, checkpoint: Artifact) -> str:
        """The step of a checkpoint, and whether it is the newest or the best."""
        best, newest = checkpoint is best_checkpoint(self.checkpoints), checkpoint is self.checkpoints[-1]
        marks = [mark for mark, holds in (("newest", newest), ("best", best)) if holds]
        return f"step {step_of(checkpoint.path):,}" + (f" ({', '.join(marks)})" if marks else "")


def compared_choices(runs: Sequence[Run], own: Run) -> list[Choice]:
    """The checkpoints of all runs, those of `own` first; the value is the run's id, a slash and the name.

    Reads directories: call it from a thread.
    """
    choices = []
    for run in sorted(runs, key=lambda run: run.id != own.id):
        name = "" if run.id == own.id else f"{run.name}  "
        paths = inference_paths(run)
        if paths:
            choices.append(Choice(f"{run.id}/", f"{name}newest", f"step {step_of(paths[0]):,}, follows the training"))
        choices += [Choice(f"{run.id}/{path.name}", f"{name}step {step_of(path):,}") for path in paths]
    return choices


def compared_checkpoint(runs: Sequence[Run], run_id: str, name: str) -> ComparedCheckpoint | None:
    """The checkpoint chosen among `compared_choices`; None if there is no such run or checkpoint."""
    run = next((run for run in runs if run.id == run_id), None)
    paths = inference_paths(run) if run else []
    found = next((path for path in paths if not name or path.name == name), None)
    return ComparedCheckpoint(run, found) if run and found else None


def _names(folder: Path) -> tuple[str, ...]:
    try:
        return tuple(sorted(entry.name for entry in os.scandir(folder)))
    except OSError:
        return ()


def about_checkpoint(checkpoint: Artifact) -> str:
    """The detail of a checkpoint in the picker: its loss and when it was saved."""
    bits = checkpoint.facts.get("bits_per_byte")
    bound = bool(checkpoint.facts.get("bound"))
    value = f"{units.cost(bits, bound=bound)} bpb, " if isinstance(bits, float) else ""
    return f"{value}saved {units.clock(checkpoint.manifest.made_at)}"
