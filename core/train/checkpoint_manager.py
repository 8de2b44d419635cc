"""The checkpoints of a training on all ranks: saving them while it runs, and resuming from the newest."""

from __future__ import annotations

from collections.abc import Generator, Sequence

import torch
from torch.optim import Optimizer

from core.events import Event, Note, Resumed
from core.model.device import Device, dtype_name
from core.storage.artifact import Facts
from core.train.async_checkpoint import AsyncCheckpointer
from core.train.checkpoint import (
    Snapshot,
    TrainingInputs,
    TrainingState,
    get_random_states,
    newest_checkpoint,
    restore,
)
from core.train.clock import TrainingClock
from core.train.commands import Commands, EventStream
from core.train.data_parallel import DataParallel
from core.train.distributed import ProcessGroup
from core.train.optimizer import set_muon_dtype
from core.train.resume_compat import RecipeChange, changes_since_checkpoint


class CheckpointManager:
    """Saves and restores a training. Every rank has one; that of rank 0 writes, by its `checkpointer`.

    parallel, optimizers: what is trained.
    """

    def __init__(
        self,
        inputs: TrainingInputs,
        checkpointer: AsyncCheckpointer,
        parallel: DataParallel,
        optimizers: Sequence[Optimizer],
        *,
        group: ProcessGroup,
        clock: TrainingClock,
    ) -> None:
        self._inputs, self._checkpointer, self._parallel, self._optimizers = inputs, checkpointer, parallel, optimizers
        self._group, self._clock = group, clock

    def newest_step(self) -> int:
        """The step of the newest intact checkpoint, on every rank; -1 before there is one. Collective."""
        return int(self._group.all_gather(self._checkpointer.step)[0][0])

    def save(self, state: TrainingState, facts: Facts, *, last: bool) -> EventStream:
        """Save in the background, or the last checkpoint in the foreground. Collective.

        facts: the losses that it records. If the disk is full, training continues without it. Raises DiskError for the
        last one.
        """
        random_states = self._group.gather_random_states(get_random_states())
        snapshot = Snapshot.take(self._parallel, self._optimizers, state, self._inputs, facts, random_states)
        if not self._group.is_main:
            return
        for event in self._checkpointer.finish(snapshot) if last else self._checkpointer.begin(snapshot):
            yield from self._clock.emit(event)

    def emit_saved(self, *, settle: bool = False) -> EventStream:
        """The events of checkpoints saved since the last call. settle: wait for the one being written."""
        if settle:
            self._checkpointer.settle()
        for event in self._checkpointer.poll():
            yield from self._clock.emit(event)

    def restore(
        self, device: Device
    ) -> Generator[Event, Commands | None, tuple[TrainingState, list[RecipeChange]] | None]:
        """Restore the newest intact checkpoint, and return its state and the changes of the recipe since then; None if
        there is none.

        device: whose precision counts if `train.precision` has been changed. Raises WeightsError, ResumeConflictError
        and NewerCheckpointError.
        """
        checkpoint, damaged = newest_checkpoint(self._checkpointer.directory)
        for damage in damaged:
            yield Note(level="warning", text=f"checkpoint {damage}; going back to the one before it")
        if checkpoint is None:
            if damaged:
                yield Note(level="warning", text="no checkpoint is whole: the training begins anew")
            return None
        changes = changes_since_checkpoint(checkpoint, self._inputs.recipe, self._inputs.tokens)
        state = restore(checkpoint, self._parallel, self._optimizers, self._group.rank)
        state.finished = False  # if the limit has not moved, it is reached at once
        if any(change.field == "train.precision" for change in changes):
            state.dtype, state.muon_dtype = dtype_name(device.dtype), dtype_name(device.muon)
        self._parallel.model.dtype = getattr(torch, state.dtype)
        set_muon_dtype(self._optimizers, getattr(torch, state.muon_dtype))
        self._checkpointer.step = state.step
        yield Resumed(step=state.step, checkpoint=str(checkpoint.path))
        for change in changes:
            yield Note(text=f"{change} from step {state.step:,} on")
        return state, changes
