"""The training loop: a generator that yields events and accepts commands."""

from __future__ import annotations

import gc
import itertools
import time
from collections.abc import Callable, Generator
from pathlib import Path

import msgspec
import torch

from core.errors import LlmtuiError, is_out_of_memory
from core.events import Event, ModelInfo, Note, Progress, RuleActed, RungReached
from core.init.weights import load_initial_weights
from core.model.batches import Batches
from core.model.device import Device, dtype_name
from core.model.gpt import GPT
from core.model.memory import checkpoint_bytes
from core.model.objectives import Objective
from core.plural import plural
from core.recipe.schema import Recipe
from core.sample.logits_processors import TokenSampler
from core.storage.artifact import Artifact
from core.storage.workspace import Workspace
from core.tokenize.shards import TokenStream
from core.tokenize.vocabulary import Vocabulary
from core.train.async_checkpoint import AsyncCheckpointer
from core.train.checkpoint import TrainingInputs, TrainingState
from core.train.checkpoint_manager import CheckpointManager
from core.train.clock import TrainingClock
from core.train.commands import ChangeLearningRate, Commands, EventStream, GenerateSample, SaveCheckpoint, Stop
from core.train.data_parallel import DataParallel
from core.train.distributed import ProcessGroup
from core.train.evaluator import EvaluationStopped, Evaluator
from core.train.fingerprint import training_fingerprint
from core.train.lr_control import LrControl
from core.train.memory_probe import choose_micro_batch, is_sharded, make_plan, should_compile
from core.train.non_finite import NonFiniteError
from core.train.optimizer import optimizers
from core.train.out_of_memory import TrainingMemoryError
from core.train.rules import fell_below, finished_reason, lost_patience, reached_share
from core.train.sample_hook import generate_sample, resolve_sample
from core.train.schedule import intervals
from core.train.step_runner import StepRunner
from core.train.threads import ThreadTuner, cpu_times, make_thread_tuner

STEP_BACK_LR_FACTOR = 0.5
"""Factor of the learning rate after a step back to the last checkpoint."""

SINGLE_PROCESS = ProcessGroup()


class Trainer:
    """Trains one model in `directory`, from its newest checkpoint or from the beginning.

    group: the processes that train it together. Each has a Trainer and runs it to its end; events and commands pass
    through the one of rank 0. stop_at: share of the training after which it is evaluated, saved and stopped, to be
    continued later; 1: at its end. now: a monotonic clock in seconds.
    """

    def __init__(
        self,
        recipe: Recipe,
        tokens: Artifact,
        directory: Path,
        device: Device,
        group: ProcessGroup = SINGLE_PROCESS,
        *,
        stop_at: float = 1.0,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self.recipe, self.directory, self._group, self._clock = recipe, directory, group, TrainingClock(now)
        self._stop_at = stop_at
        # each rank may have measured another one
        dtype, muon_dtype = (group.broadcast_text(dtype_name(kind)) for kind in (device.dtype, device.muon))
        device = msgspec.structs.replace(device, dtype=getattr(torch, dtype), muon=getattr(torch, muon_dtype))
        inputs = TrainingInputs(recipe, tokens, training_fingerprint(recipe, tokens))
        self._checkpointer = AsyncCheckpointer(directory, recipe.train.keep_checkpoints)
        self.vocabulary = Vocabulary.load(tokens.path / "vocabulary.json")
        # an invalid sampling setting is reported now, not at the first sample
        TokenSampler(recipe.sample.sampling(), self.vocabulary.size)
        self._train_tokens = TokenStream(tokens.files("train-*.tokens"))
        self._validation_tokens = TokenStream(tokens.files("validation-*.tokens"))
        self._batches = Batches(
            self._train_tokens,
            block_size=recipe.model.block_size,
            batch_size=recipe.train.batch_size,
            seed=recipe.train.seed,
            rank=group.rank,
            world=group.world_size,
        )
        self._device = device
        self.state = TrainingState(dtype=dtype, muon_dtype=muon_dtype)
        self.parallel = self._make_parallel()
        self.model = self.parallel.model
        self._objective = Objective(recipe.train, mask_token_id=self.model.mask_token_id)
        group.reseed(recipe.train.seed)
        self.optimizers = optimizers(self.model, recipe.train, device.muon, group)
        self._checkpoint_manager = CheckpointManager(
            inputs, self._checkpointer, self.parallel, self.optimizers, group=group, clock=self._clock
        )
        self._evaluator = Evaluator(
            recipe,
            self.model,
            self.vocabulary,
            train=self._train_tokens,
            validation=self._validation_tokens,
            group=group,
            clock=self._clock,
        )
        self._lr_control = LrControl(recipe.train, self._checkpointer, group, self._clock)
        self._step = StepRunner(
            recipe,
            self.parallel,
            self.optimizers,
            self._batches,
            self._objective,
            self._lr_control,
            group=group,
            clock=self._clock,
        )
        self._tuner: ThreadTuner | None = None
        self._fell_below = False
        """Whether `rules.below` acted, and its checkpoint is still to be saved."""

    def _make_parallel(self) -> DataParallel:
        """The new model, whole or this rank's part of it."""
        recipe, vocabulary, device, group = self.recipe, self.vocabulary.size, self._device, self._group
        sharded = is_sharded(recipe, vocabulary, device, group)
        limit = choose_micro_batch(recipe, vocabulary, device, group, sharded=sharded)
        self._micro_batch_limit = int(min(limit for (limit,) in group.all_gather(limit)))
        torch.manual_seed(recipe.train.seed)
        try:
            if sharded:
                from core.train.fully_sharded import FullyShardedDataParallel  # imports torch's compiler, in a second

                return FullyShardedDataParallel(recipe, vocabulary, device, group)
            return DataParallel(GPT(recipe.model, vocabulary, dtype=device.dtype).to(device.torch), group)
        except (RuntimeError, MemoryError) as error:
            raise self._too_big() if is_out_of_memory(error) else error from None

    def run(self) -> EventStream:
        """Train until a limit is reached or `Stop` is sent. The last checkpoint is saved before it returns.

        Raises NonFiniteError before a step that would spoil the weights, TrainingMemoryError; ResumeConflictError and
        NewerVersionError if the training cannot continue from the newest checkpoint.
        """
        threads = torch.get_num_threads()
        with self._checkpointer:
            try:
                torch.set_num_threads(self.recipe.train.threads or threads)
                try:
                    yield from self._run()
                except EvaluationStopped:
                    if self.state.step:
                        yield from self._save(last=True)
            except LlmtuiError:
                yield from self._checkpoint_manager.emit_saved(settle=True)
                raise
            except (RuntimeError, MemoryError) as error:
                raise self._too_big() if is_out_of_memory(error) else error from None
            finally:
                gc.unfreeze()
                torch.set_num_threads(threads)

    def _run(self) -> EventStream:
        yield from self._resume()
        yield ModelInfo(
            parameters=self.model.parameter_count(),
            flops_per_token=self.model.flops_per_token(),
            vocabulary=self.vocabulary.size,
            tokens=len(self._train_tokens),
        )
        if not self.parallel.repeatable:
            count = plural(self._group.world_size, "process")
            yield Note(text=f"weights, gradients and optimizer state are sharded over {count}")
        if self._group.is_main:
            self._checkpointer.require_room(sum(checkpoint_bytes(self.recipe, self.vocabulary.size)))
        if self.state.step == 0:
            yield from self._plan()
        self.state.micro_batch = self._micro_batch()
        if self.state.compiled:
            self.model.compile_blocks()
            yield Note(text="the blocks are being compiled: the first step takes up to a minute")
        self._clock.start(self.state.seconds)
        self.model.train()
        self._samples, self._evaluations, self._checkpoints = intervals(self.recipe.train, self.state.seconds)
        if self.state.step == 0:
            yield from self._evaluate()
        self._tuner = make_thread_tuner(self.recipe.train, self._device.name, self._group.world_size)
        prompts, frozen = itertools.cycle(self.recipe.sample.prompts), False
        while not (reason := finished_reason(self.recipe.train, self.state)):
            if reached_share(self.recipe.train, self.state, self._stop_at):
                yield from self._stop_at_rung()
                return
            try:
                commands = yield from self._step.run(self.state, self._checkpointer.kept)
            except NonFiniteError as error:
                yield from self._step_back(error)
                continue
            yield from self._checkpoint_manager.emit_saved()
            yield from self._tune_threads()
            if not frozen:  # collecting what exists now again and again would cost pauses
                gc.freeze()
                frozen = True
            step = self.state.step
            if Stop() in commands:
                yield from self._save(last=True)
                return
            for request in [command for command in commands if isinstance(command, GenerateSample)]:
                yield from self._sample(request)
            if finished_reason(self.recipe.train, self.state):
                continue
            if self._samples.due(step, self.state.seconds):
                by_clock = not self._samples.by_steps(step)
                yield from self._sample(GenerateSample(prompt=next(prompts)) if by_clock else GenerateSample())
                self._samples.happened(self.state.seconds)
            best = False
            if self._evaluations.due(step, self.state.seconds):
                scheduled = self._evaluations.by_steps(step)
                better = yield from self._evaluate(scheduled=scheduled)
                self.state.stale += scheduled and not better
                best = better and self.recipe.train.patience is not None  # what early stopping is to leave
            if self._checkpoints.due(step, self.state.seconds) or SaveCheckpoint() in commands or best:
                yield from self._save()
                self._checkpoints.happened(self.state.seconds)
            if self._fell_below:
                self._fell_below = False
                yield from self._save(last=self.recipe.rules.stop)
                if self.recipe.rules.stop:
                    return
            for change in [command for command in commands if isinstance(command, ChangeLearningRate)]:
                yield from self._lr_control.change(step, change.factor, save=self._save(last=True))
        text = f"the training is finished after {plural(self.state.step, 'step')}: {reason}"
        yield from self._clock.emit(Note(text=text))
        if lost_patience(self.recipe.train, self.state):
            yield from self._clock.emit(RuleActed(rule="patience", step=self.state.step, what=reason, action="finish"))
        if self._evaluator.step != self.state.step:
            yield from self._evaluate()
        yield from self._evaluate(final=True)
        self.state.finished = True
        yield from self._save(last=True)

    def _plan(self) -> EventStream:
        """Measure memory and speed, and decide on the micro-batch and on compilation."""
        plan = make_plan(
            self.model,
            self.optimizers,
            self.recipe,
            self._device,
            micro_batch=self._micro_batch(),
            validation=len(self._validation_tokens),
            shards=1 if self.parallel.repeatable else self._group.world_size,
        )
        self.state.micro_batch = plan.micro_batch
        compiled = should_compile(self.recipe.train, self._device, plan.seconds)
        self.state.compiled = bool(self._group.all_gather(compiled)[0][0])
        yield plan

    def _tune_threads(self) -> EventStream:
        if self._tuner is None:
            return
        if self._tuner.record_step(self._step.seconds, cpu_times()):
            yield from self._clock.emit(Note(text=self._tuner.message()))
        if self._tuner.threads != torch.get_num_threads():
            torch.set_num_threads(self._tuner.threads)

    def _micro_batch(self) -> int:
        """Sequences in one forward pass: what the recipe allows, or what an earlier attempt was reduced to."""
        recipe = self.recipe.train
        share = -(-recipe.batch_size // self._group.world_size)
        return min(recipe.micro_batch or share, self.state.micro_batch or self._micro_batch_limit, share)

    # -- between steps --------------------------------------------------------------------------------------------

    def _evaluate(self, *, final: bool = False, scheduled: bool = True) -> Generator[Event, Commands | None, bool]:
        """See `Evaluator.run`."""
        with self.parallel.whole_model():
            best = yield from self._evaluator.run(self.state, final=final, scheduled=scheduled)
        self._evaluations.happened(self.state.seconds)
        acted = None if final else fell_below(self.recipe, self.state, float(self._evaluator.facts["bits_per_byte"]))
        if acted:
            self._fell_below = True
            yield from self._clock.emit(acted)
        return best

    def _sample(self, request: GenerateSample) -> EventStream:
        with self.parallel.whole_model():
            if self._group.is_main:
                yield from self._clock.emit(Progress(done=0, total=1, unit="samples", of="sample"))
                sample = resolve_sample(self.recipe, self.state.step, request)
                sampling = self.recipe.sample.sampling()
                yield from self._clock.emit(generate_sample(self.model, self.vocabulary, sample, sampling))

    def _save(self, *, last: bool = False) -> EventStream:
        """Save a checkpoint in the background, or the last one in the foreground; with its validation loss if not last.

        If the disk is full, training continues without it. Raises DiskError for the last one.
        """
        state = self.state
        if last:
            yield from self._checkpoint_manager.emit_saved(settle=True)
        if self._checkpoint_manager.newest_step() == state.step and not state.finished:
            return
        if not last and self._evaluator.step != state.step:
            yield from self._evaluate(scheduled=False)
        if self._group.is_main:
            yield from self._clock.emit(Progress(done=0, total=None, unit="bytes", of="checkpoint"))
        facts = self._evaluator.facts if self._evaluator.step == state.step else {}
        yield from self._checkpoint_manager.save(state, facts, last=last)

    def _stop_at_rung(self) -> EventStream:
        """Evaluate and save what continues later as if it had not stopped: neither changes weights or random states."""
        state = self.state
        if self._evaluator.step != state.step:
            yield from self._evaluate(scheduled=False)
        yield from self._save(last=True)
        bits_per_byte = float(self._evaluator.facts["bits_per_byte"])
        rung = RungReached(step=state.step, share=self._stop_at, bits_per_byte=bits_per_byte, seconds=state.seconds)
        yield from self._clock.emit(rung)

    def _resume(self) -> Generator[Event, Commands | None, bool]:
        """Continue from the newest checkpoint, or start from initial weights. Returns whether there was one."""
        self._lr_control.read()
        restored = yield from self._checkpoint_manager.restore(self._device)
        if restored is None:
            initial = self.parallel.initial_model()
            if self._group.is_main and initial is not None:
                yield from load_initial_weights(self.recipe.model, initial, self.vocabulary, Workspace())
            self.parallel.set_weights(initial)
            return False
        self.state, changes = restored
        self._evaluator.step = -1
        if any(change.field.rpartition(".")[2] in ("lr", "muon_lr") for change in changes):
            yield from self._lr_control.reset(self.state.step)
        return True

    # -- errors ---------------------------------------------------------------------------------------------------

    def _step_back(self, error: NonFiniteError) -> EventStream:
        """Go back to the last checkpoint with a lower learning rate.

        Raises `error` if there is none, if the recipe does not allow it, or if it has been done before.
        """
        self._checkpointer.settle()
        newest = self._checkpoint_manager.newest_step()
        may_go_back = self.recipe.train.rollback_on_nan and self.state.rate_factor == 1 and newest >= 0
        step = self.state.step + 1
        if may_go_back:
            self.model.zero_grad(set_to_none=True)
        if not may_go_back or not (yield from self._resume()):
            what = "its loss or a gradient is not finite"
            yield from self._clock.emit(RuleActed(rule="not finite", step=step, what=what, action="fail"))
            raise error
        self.state.rate_factor = STEP_BACK_LR_FACTOR
        self._clock.start(self.state.seconds)
        back = f"back to step {self.state.step:,}, at {STEP_BACK_LR_FACTOR:g} times the learning rate"
        yield from self._clock.emit(Note(level="warning", text=f"{error.what}; {back}"))

    def _too_big(self) -> TrainingMemoryError:
        if self._group.world_size > 1 and self.state.micro_batch > 1:
            return TrainingMemoryError(
                f"memory ran out with {self.state.micro_batch} sequences at a time",
                kept=self._checkpointer.kept(),
                todo=f"resume with --set train.micro_batch={self.state.micro_batch // 2}",
            )
        return TrainingMemoryError.single_sequence(self.recipe.model.block_size, self._checkpointer.kept())
