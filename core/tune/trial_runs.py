"""The runs of a study's trials: creating and starting them, on a processor that they may share."""

from __future__ import annotations

from collections.abc import Callable

from msgspec.structs import replace

from core.errors import DiskError, log
from core.hardware import cores, gpu_count
from core.recipe.schema import Recipe
from core.runs import launch
from core.runs.directory import Run
from core.runs.errors import RunActiveError
from core.runs.run_file import StudyTrial, TrialOrigin
from core.storage.workspace import Workspace, free_bytes
from core.tune.halving import next_stop
from core.tune.space import Values
from core.tune.study import Study

MIN_FREE_BYTES = 32 * 2**20
"""Disk space without which no trial is started: a training needs some for its checkpoint, see `AsyncCheckpointer`."""

Starter = Callable[[Run, Workspace, bool], None]
"""Starts a run, sharing its device or not."""


class TrialRuns:
    """Creates and starts the runs of a study. start: by default as a detached process."""

    def __init__(self, study: Study, workspace: Workspace, start: Starter | None = None) -> None:
        self._study, self._workspace = study, workspace
        self._start = start or (lambda run, where, share: launch.start(run, where, share=share))

    def create(self, number: int, values: Values, recipe: Recipe, origin: TrialOrigin, request: str = "") -> Run:
        """Create the run of a new trial, which trains to the first rung. Raises DiskError."""
        train = recipe.train
        if self._shares_processor(recipe) and train.threads is None:
            train = replace(train, threads=max(1, cores() // self._study.file.parallel))
        recipe = replace(recipe, name=f"{self._study.name[:56]}-{number:03d}", train=train)
        trial = StudyTrial(id=self._study.id, number=number, values=values, origin=origin, request=request)
        self._require_space()
        return Run.create(self._workspace, recipe, study=trial, stop_at=next_stop(self._study.file.scheduler))

    def start(self, run: Run, stop: float) -> None:
        """Start a run that is to train until the share `stop` of its training. Raises DiskError.

        A run that cannot be started is logged: the controller finds it interrupted.
        """
        self._require_space()
        try:
            if run.file.stop_at != stop:
                run.train_until(stop)
            self._start(run, self._workspace, self._shares_processor(run.recipe))
        except RunActiveError:
            pass
        except launch.LaunchError as error:
            log(error.sentence())

    def _shares_processor(self, recipe: Recipe) -> bool:
        """Whether trials run at once on the processor; on GPUs the queue gives each its own."""
        on_processor = recipe.train.device == "cpu" or (recipe.train.device == "auto" and not gpu_count())
        return self._study.file.parallel > 1 and on_processor

    def _require_space(self) -> None:
        """Raise DiskError if the disk is about to be full."""
        if (free := free_bytes(self._workspace.data)) < MIN_FREE_BYTES:
            what = f"the disk is full: {free / 2**20:.0f} MiB are free"
            raise DiskError(what, where=str(self._workspace.data), kept="the study waits for space")
