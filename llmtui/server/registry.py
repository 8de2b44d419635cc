"""The models served: runs with checkpoints, as `RUN` (its newest checkpoint) and `RUN@STEP`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from msgspec import Struct

from core.checkpoints import checkpoint_paths, readable_checkpoints, step_of
from core.runs.directory import Run
from core.runs.lookup import all_runs, find_run, find_runs
from core.storage.artifact import Artifact
from core.storage.workspace import Workspace
from llmtui.server.errors import ApiError


class ServedModel(Struct, frozen=True, kw_only=True):
    """One model."""

    id: str
    run: Run
    checkpoint: Artifact

    @property
    def id_with_step(self) -> str:
        """`RUN@STEP`, also for an id without a step."""
        return f"{self.run.id}@{step_of(self.checkpoint.path)}"

    def to_openai(self) -> dict[str, object]:
        """The model object of OpenAI's API."""
        created = int(self.checkpoint.manifest.made_at)
        return {"id": self.id, "object": "model", "created": created, "owned_by": "llmtui"}


class ModelRegistry:
    """Reads the run directories on each call, since training saves and deletes checkpoints."""

    def __init__(self, workspace: Workspace, runs: Sequence[str]) -> None:
        """runs: names as `find_run` takes them; empty: all runs. Raises RunNotFoundError."""
        self._workspace = workspace
        self._only = {find_run(workspace, name).id for name in runs}

    def all(self) -> Iterator[ServedModel]:
        """Newest run first, and for each run the newest checkpoint first."""
        for run in self._runs():
            checkpoints = readable_checkpoints(run.checkpoints)[::-1]
            if checkpoints:
                yield ServedModel(id=run.id, run=run, checkpoint=checkpoints[0])
            for checkpoint in checkpoints:
                yield ServedModel(id=f"{run.id}@{step_of(checkpoint.path)}", run=run, checkpoint=checkpoint)

    def _runs(self) -> list[Run]:
        return [run for run in all_runs(self._workspace) if not self._only or run.id in self._only]

    def find(self, name: str) -> ServedModel:
        """The model with the id `name`; a run's name or the start of its id is enough.

        Raises ApiError, RunNotFoundError.
        """
        run_name, at, step = name.partition("@")
        runs = [run for run in self._runs() if checkpoint_paths(run.checkpoints)]
        for run in find_runs(self._workspace, run_name, runs):
            matching = [
                checkpoint
                for checkpoint in readable_checkpoints(run.checkpoints)
                if not at or str(step_of(checkpoint.path)) == step
            ]
            if matching:
                return ServedModel(id=name, run=run, checkpoint=matching[-1])
        raise ApiError(404, f"there is no model {name!r}; /v1/models lists them", param="model", code="model_not_found")
