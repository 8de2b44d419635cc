"""Changing the learning rate of a training while it runs: see `core.train.lr_changes` for what is recorded."""

from __future__ import annotations

from core.errors import DiskError
from core.events import LearningRateChanged, Note
from core.recipe.schema import Train
from core.train.async_checkpoint import AsyncCheckpointer
from core.train.clock import TrainingClock
from core.train.commands import EventStream
from core.train.distributed import ProcessGroup
from core.train.lr_changes import LrChange, lr_change_factor, read_lr_changes, with_lr_change, write_lr_changes


class LrControl:
    """The changes of the learning rate of one training, on every rank; the checkpoint before each is kept."""

    def __init__(
        self, recipe: Train, checkpointer: AsyncCheckpointer, group: ProcessGroup, clock: TrainingClock
    ) -> None:
        self._recipe, self._checkpointer, self._group, self._clock = recipe, checkpointer, group, clock
        self._directory = checkpointer.directory
        self._changes: tuple[LrChange, ...] = ()

    def factor(self, step: int) -> float:
        """The factor of every learning rate of the recipe after `step` steps."""
        return lr_change_factor(self._changes, step)

    def read(self) -> None:
        """Take over what was recorded beside the checkpoints. Raises LearningRateFileError."""
        self._set(read_lr_changes(self._directory))

    def change(self, step: int, factor: float, save: EventStream) -> EventStream:
        """Let `save` save the checkpoint of `step`, record the change, and train with it from the next step on; if the
        disk is full, without it."""
        failed = False
        changes = with_lr_change(self._changes, LrChange(step=step, factor=factor))
        try:
            yield from save
            if self._group.is_main:
                write_lr_changes(self._directory, changes)
        except (DiskError, OSError) as error:
            failed = True
            what = error.what if isinstance(error, DiskError) else (error.strerror or str(error)).lower()
            yield from self._clock.emit(Note(level="warning", text=f"the learning rate stays as it is: {what}"))
        if any(failures for (failures,) in self._group.all_gather(failed)):
            return
        yield from self._clock.emit(self._event(step, factor))
        self._set(changes)

    def reset(self, step: int) -> EventStream:
        """Let the recipe's learning rates count from `step` on, since they were changed after the changes while
        training. Raises DiskError."""
        if self.factor(step) == 1:
            return
        changes = with_lr_change(self._changes, LrChange(step=step, factor=1.0))
        if self._group.is_main:
            try:
                write_lr_changes(self._directory, changes)
            except OSError as error:
                raise DiskError.from_oserror(error, self._directory, kept=self._checkpointer.kept()) from None
        yield self._event(step, 1.0)
        self._set(changes)

    def _event(self, step: int, factor: float) -> LearningRateChanged:
        lr, before = self._recipe.lr, self.factor(step)
        return LearningRateChanged(step=step, factor=factor, before=before * lr, lr=factor * lr)

    def _set(self, changes: tuple[LrChange, ...]) -> None:
        self._changes = changes
        self._checkpointer.pinned = frozenset(change.step for change in changes)
