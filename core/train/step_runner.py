"""A training step as the trainer takes it: data, learning rate, loss check, metrics, and agreement between ranks."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Sequence

from torch.optim import Optimizer

from core.events import Event, Metric
from core.model.batches import Batches
from core.model.objectives import Objective
from core.recipe.schema import Recipe
from core.train.checkpoint import TrainingState
from core.train.clock import TrainingClock
from core.train.commands import ChangeLearningRate, Command, Commands, GenerateSample, SaveCheckpoint, Stop
from core.train.data_parallel import DataParallel
from core.train.distributed import ProcessGroup
from core.train.evaluator import smaller_batch_note
from core.train.lr_control import LrControl
from core.train.non_finite import non_finite_error
from core.train.optimizer import set_lr_factor
from core.train.schedule import lr_factor, progress
from core.train.step import accumulate_within_memory, optimizer_step, reduce_gradients


class StepRunner:
    """Takes one optimizer step after the other. Every rank calls it with its own share of the batches."""

    def __init__(
        self,
        recipe: Recipe,
        parallel: DataParallel,
        optimizers: Sequence[Optimizer],
        batches: Batches,
        objective: Objective,
        lr_control: LrControl,
        *,
        group: ProcessGroup,
        clock: TrainingClock,
    ) -> None:
        self._recipe, self._parallel, self._optimizers = recipe, parallel, optimizers
        self._batches, self._objective, self._group, self._clock = batches, objective, group, clock
        self._lr_control = lr_control
        self.seconds = 0.0
        """Duration of the last step, without the time spent at its events."""

    def run(self, state: TrainingState, kept: Callable[[], str]) -> Generator[Event, Commands | None, Commands]:
        """Take one step, update `state`, emit a Metric, and return what every rank does next.

        kept: says which checkpoint is safe. Raises NonFiniteError before the weights change.
        """
        recipe = self._recipe.train
        began = time.monotonic()
        factor = lr_factor(recipe, self._progress(state)) * state.rate_factor
        factor *= self._lr_control.factor(state.step)
        set_lr_factor(self._optimizers, factor)
        indices = range(self._group.rank, recipe.batch_size, self._group.world_size)
        batch = self._objective(self._batches(state.step), step=state.step, indices=indices)
        nats, fits = accumulate_within_memory(self._parallel, batch, state.micro_batch, recipe)
        if fits < state.micro_batch:
            state.micro_batch = fits
            yield from self._clock.emit(smaller_batch_note(f"step {state.step + 1:,} continues", fits))
        totals = reduce_gradients(self._parallel, nats, batch.count)
        if not totals.finite:
            lr, gradients = factor * recipe.lr, self._parallel.named_gradients()
            with self._parallel.whole_model():
                model, step = self._parallel.model, state.step + 1
                raise non_finite_error(model, batch, totals, step=step, lr=lr, kept=kept(), gradients=gradients)
        optimizer_step(self._parallel, self._optimizers, totals, recipe.grad_clip)
        self.seconds = time.monotonic() - began
        state.step += 1
        state.tokens += recipe.batch_size * self._recipe.model.block_size
        state.seconds = self._clock.seconds
        commands = yield from self._clock.emit(
            Metric(
                step=state.step,
                loss=totals.loss,
                lr=factor * recipe.lr,
                grad_norm=totals.grad_norm,
                tokens=state.tokens,
                seconds=state.seconds,
                progress=self._progress(state),
            )
        )
        return self._agree(state, commands)

    def _progress(self, state: TrainingState) -> float:
        return progress(self._recipe.train, steps=state.step, tokens=state.tokens, seconds=state.seconds)

    def _agree(self, state: TrainingState, commands: Commands) -> Commands:
        """The commands for every rank. All ranks take the clock of rank 0 and the smallest micro-batch."""
        stop, save = Stop() in commands or self._group.orphaned, SaveCheckpoint() in commands
        change = next((command.factor for command in commands if isinstance(command, ChangeLearningRate)), 0.0)
        samples = [command for command in commands if isinstance(command, GenerateSample)]
        gathered = self._group.all_gather(state.seconds, state.micro_batch, stop, save, change, len(samples))
        seconds, micro_batches, stops, saves, changes, requests = zip(*gathered, strict=True)
        state.seconds, state.micro_batch = seconds[0], int(min(micro_batches))
        # what they ask for is known to rank 0 alone, which generates them
        agreed: list[Command] = [*(samples or [GenerateSample()] * int(requests[0]))]
        agreed += [Stop()] if any(stops) else []
        agreed += [SaveCheckpoint()] if any(saves) else []
        agreed += [ChangeLearningRate(changes[0])] if changes[0] else []
        return tuple(agreed)
