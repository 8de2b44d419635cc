"""The models that are offered: runs with checkpoints, as `RUN` (the newest of them) and `RUN@STEP`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from msgspec import Struct

from core.checkpoints import checkpoint_paths, readable_checkpoints, step_of
from core.runs.directory import Run
from core.runs.lookup import all_runs, find_run, find_runs
from core.storage.artifact import Artifact
from core.storage.workspace import Workspace
from llmtui.server.errors import ApiError


class Offer(Struct, frozen=True, kw_only=True):
    """One model."""

    id: str
    run: Run
    checkpoint: Artifact

    @property
    def exact(self) -> str:
        """Its name with the step, also where the newest was meant."""
        return f"{self.run.id}@{step_of(self.checkpoint.path)}"

    def described(self) -> dict[str, object]:
        """As OpenAI's clients read it."""
        made = int(self.checkpoint.manifest.made_at)
        return {"id": self.id, "object": "model", "created": made, "owned_by": "llmtui"}


class Offers:
    """Looked up anew each time: training saves checkpoints and lets go of them."""

    def __init__(self, workspace: Workspace, wanted: Sequence[str]) -> None:
        """wanted: runs as `find_run` takes them; none means all. Raises RunNotFoundError."""
        self._workspace = workspace
        self._only = {find_run(workspace, name).id for name in wanted}

    def all(self) -> Iterator[Offer]:
        """Newest runs first, of each the newest checkpoint first."""
        for run in self._runs():
            saved = readable_checkpoints(run.checkpoints)[::-1]
            if saved:
                yield Offer(id=run.id, run=run, checkpoint=saved[0])
            for checkpoint in saved:
                yield Offer(id=f"{run.id}@{step_of(checkpoint.path)}", run=run, checkpoint=checkpoint)

    def _runs(self) -> list[Run]:
        return [run for run in all_runs(self._workspace) if not self._only or run.id in self._only]

    def find(self, name: str) -> Offer:
        """The model of that name; for a run also its own name or the beginning of its id.

        Raises ApiError, RunNotFoundError.
        """
        wanted, at, step = name.partition("@")
        there = [run for run in self._runs() if checkpoint_paths(run.checkpoints)]
        for run in find_runs(self._workspace, wanted, there):
            saved = readable_checkpoints(run.checkpoints)
            chosen = [checkpoint for checkpoint in saved if not at or str(step_of(checkpoint.path)) == step]
            if chosen:
                return Offer(id=name, run=run, checkpoint=chosen[-1])
        raise ApiError(404, f"there is no model {name!r}; /v1/models lists them", param="model", code="model_not_found")
