"""The training loop: a generator that says what happens at every step and is told what to do next."""

from __future__ import annotations

import functools
import gc
import itertools
import math
import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Literal

import msgspec
import torch

from core.errors import LlmtuiError, is_out_of_memory
from core.events import Evaluation, Event, Metric, ModelInfo, Note, Progress, Resumed
from core.model.cost import Cost
from core.model.device import Device
from core.model.gpt import GPT
from core.model.init_weights import start_from
from core.model.memory import saved
from core.model.objectives import Objective
from core.plural import plural
from core.recipe.schema import Recipe
from core.sample.logits_processors import Chain
from core.storage.artifact import Artifact, Facts, fingerprint
from core.storage.workspace import Workspace
from core.tokenize.shards import TokenStream
from core.tokenize.vocabulary import Vocabulary
from core.train import checkpoint as checkpoints
from core.train.async_checkpoint import Saver
from core.train.batches import Batches
from core.train.commands import Checkpoint, Commands, Draw, Stop
from core.train.distributed import Ranks
from core.train.evaluate import Windows, byte_lengths
from core.train.memory_probe import fitting, plan, worth_compiling
from core.train.not_finite import NonFiniteError, not_finite
from core.train.optimizer import multiply_in, optimizers, set_rate
from core.train.out_of_memory import TrainingMemoryError, halving
from core.train.resume_compat import since
from core.train.sample_hook import drawn, wanted
from core.train.schedule import Interval, limits, progress, rate, reached
from core.train.step import accumulate_what_fits, add_up, move
from core.train.threads import Threads, load

FORMAT = 1
"""Of what a fingerprint of this stage stands for."""

FINAL_SLICES = 64
"""How many times the slice the last evaluation may look at: everything for most, and still minutes for a library."""

PROGRESS_EVERY = 0.5
"""Seconds between two words about how far an evaluation is."""

BACK = 0.5
"""What is left of the learning rate after a step back."""

ALONE = Ranks()

Evaluated = Literal["evaluation", "final evaluation"]

Talk = Generator[Event, Commands | None, None]
"""Yields what there is to say; what is sent back is asked for after the step at hand."""


def identify(recipe: Recipe, tokens: Artifact) -> str:
    """Fingerprint of what checkpoints hold: the model, how it is trained, and on what."""
    return fingerprint("train", FORMAT, recipe.model, recipe.train, tokens.content())


class _Stopping(Exception):
    """It was asked to stop in the middle of an evaluation."""


class Trainer:
    """One model being trained in `directory`, from its newest checkpoint or from the beginning.

    ranks: the processes that train it together. Each has a Trainer and drives it to its end; what there is to say and
    to ask for passes through the first one's. clock: seconds, from any moment on.
    """

    def __init__(
        self,
        recipe: Recipe,
        tokens: Artifact,
        directory: Path,
        device: Device,
        ranks: Ranks = ALONE,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.recipe, self.directory, self._ranks, self._clock = recipe, directory, ranks, clock
        # each rank may have measured something else
        dtype, muon_dtype = (ranks.tell(str(kind).removeprefix("torch.")) for kind in (device.dtype, device.muon))
        device = msgspec.structs.replace(device, dtype=getattr(torch, dtype), muon=getattr(torch, muon_dtype))
        self._origin = checkpoints.Origin(recipe, tokens, identify(recipe, tokens))
        self._saver = Saver(directory, recipe.train.keep)
        self.vocabulary = Vocabulary.load(tokens.path / "vocabulary.json")
        # what the vocabulary rules out is said now, not at the first sample
        Chain(recipe.sample.sampling(), self.vocabulary.size)
        self._train_tokens = TokenStream(tokens.files("train-*.tokens"))
        self._validation = TokenStream(tokens.files("validation-*.tokens"))
        self._batches = Batches(
            self._train_tokens,
            block_size=recipe.model.block_size,
            batch_size=recipe.train.batch_size,
            seed=recipe.train.seed,
            rank=ranks.index,
            world=ranks.count,
        )
        self._lengths = byte_lengths(self.vocabulary)
        self._evaluated_step = -1
        self._evaluation_batch = recipe.train.batch_size
        self._device, self._fits = device, fitting(recipe, self.vocabulary.size, device, ranks.count)
        torch.manual_seed(recipe.train.seed)
        try:
            self.model = GPT(recipe.model, self.vocabulary.size, dtype=device.dtype).to(device.torch)
        except (RuntimeError, MemoryError) as error:
            raise self._too_big() if is_out_of_memory(error) else error from None
        self._objective = Objective(recipe.train, mask_token_id=self.model.mask_token_id)
        ranks.reseed(recipe.train.seed)
        self.optimizers = optimizers(self.model, recipe.train, device.muon)
        self.state = checkpoints.State(dtype=dtype, muon_dtype=muon_dtype)
        self._facts: Facts = {}
        self._train_loss: float | None = None  # on the slice of the training text
        self._threads: Threads | None = None
        self._step_seconds = 0.0
        self._began = 0.0  # on the clock, moved forward by every pause

    def run(self) -> Talk:
        """Train until a limit is reached or `Stop` is sent. The last checkpoint is saved before it returns.

        Raises NonFiniteError before a step that would spoil the weights, TrainingMemoryError, TooFewTokensError;
        ResumeConflictError and NewerVersionError where a checkpoint is there and the training cannot go on from it.
        """
        threads = torch.get_num_threads()
        with self._saver:
            try:
                torch.set_num_threads(self.recipe.train.threads or threads)
                try:
                    yield from self._run()
                except _Stopping:
                    if self.state.step:
                        yield from self._save(last=True)
            except LlmtuiError:
                self._saver.settle()
                yield from self._say_saved()
                raise
            except (RuntimeError, MemoryError) as error:
                raise self._too_big() if is_out_of_memory(error) else error from None
            finally:
                gc.unfreeze()
                torch.set_num_threads(threads)

    def _run(self) -> Talk:
        yield from self._resume()
        yield ModelInfo(
            parameters=self.model.parameter_count(),
            flops_per_token=self.model.flops_per_token(),
            vocabulary=self.vocabulary.size,
            tokens=len(self._train_tokens),
        )
        if self._ranks.first:
            self._saver.require_room(sum(saved(self.recipe, self.vocabulary.size)))
        if self.state.step == 0:
            validation = len(self._validation)
            told = plan(
                self.model,
                self.optimizers,
                self.recipe,
                self._device,
                micro_batch=self._micro_batch(),
                validation=validation,
            )
            self.state.micro_batch = told.micro_batch
            compiled = worth_compiling(self.recipe.train, self._device, told.seconds)
            self.state.compiled = bool(self._ranks.exchange(compiled)[0][0])
            yield told
        self.state.micro_batch = self._micro_batch()
        if self.state.compiled:
            self.model.compile_blocks()
            yield Note(text="the blocks are being compiled: the first step takes up to a minute")
        self._began = self._clock() - self.state.seconds
        self.model.train()
        self._samples, self._evaluations, self._checkpoints = self._intervals()
        if self.state.step == 0:
            yield from self._evaluate()
        self._threads = self._crew()
        prompts, frozen = itertools.cycle(self.recipe.sample.prompts), False
        while not (why := self._ended()):
            try:
                commands = yield from self._step()
            except NonFiniteError as trouble:
                yield from self._step_back(trouble)
                continue
            yield from self._say_saved()
            yield from self._say_threads()
            if not frozen:  # what there is now stays: looking it through again and again costs pauses
                gc.freeze()
                frozen = True
            step = self.state.step
            if Stop() in commands:
                yield from self._save(last=True)
                return
            for draw in [command for command in commands if isinstance(command, Draw)]:
                yield from self._sample(draw)
            if self._ended():
                continue
            if self._samples.due(step, self.state.seconds):
                by_clock = not self._samples.by_steps(step)
                yield from self._sample(Draw(prompt=next(prompts)) if by_clock else Draw())
                self._samples.happened(self.state.seconds)
            if self._evaluations.due(step, self.state.seconds):
                scheduled = self._evaluations.by_steps(step)
                better = yield from self._evaluate(scheduled=scheduled)
                self.state.stale += scheduled and not better
            if self._checkpoints.due(step, self.state.seconds) or Checkpoint() in commands:
                yield from self._save()
                self._checkpoints.happened(self.state.seconds)
        yield from self._say(Note(text=f"the training is finished after {plural(self.state.step, 'step')}: {why}"))
        if self._evaluated_step != self.state.step:
            yield from self._evaluate()
        yield from self._evaluate(final=True)
        self.state.finished = True
        yield from self._save(last=True)

    # -- threads ------------------------------------------------------------------------------------------------

    def _crew(self) -> Threads | None:
        """Who decides how many threads there are, where that may change."""
        alone = self._device.name == "cpu" and self._ranks.count == 1
        # where the clock decides what is trained no two runs are alike; others repeat to the bit
        free = self.recipe.train.threads is None and "minutes" in limits(self.recipe.train)
        return Threads(torch.get_num_threads(), load()) if alone and free and torch.get_num_threads() > 1 else None

    def _say_threads(self) -> Talk:
        if self._threads is None:
            return
        if self._threads.after(self._step_seconds, load()):
            yield from self._say(Note(text=self._threads.words()))
        if self._threads.now != torch.get_num_threads():
            torch.set_num_threads(self._threads.now)

    def _intervals(self) -> tuple[Interval, Interval, Interval]:
        recipe, seconds = self.recipe.train, self.state.seconds
        return (
            Interval(recipe.sample_every, recipe.sample_minutes, seconds=seconds),
            Interval(recipe.evaluate_every, recipe.evaluate_minutes, seconds=seconds),
            Interval(recipe.checkpoint_every, recipe.checkpoint_minutes, seconds=seconds),
        )

    # -- one step -----------------------------------------------------------------------------------------------

    def _step(self) -> Generator[Event, Commands | None, Commands]:
        recipe, state = self.recipe.train, self.state
        began = time.monotonic()
        share = rate(recipe, self._progress()) * state.rate_factor
        set_rate(self.optimizers, share)
        mine = range(self._ranks.index, recipe.batch_size, self._ranks.count)
        batch = self._objective(self._batches(state.step), step=state.step, indices=mine)
        nats, fits = accumulate_what_fits(self.model, batch, state.micro_batch, recipe)
        if fits < state.micro_batch:
            state.micro_batch = fits
            yield from self._say(_halved(f"step {state.step + 1:,} goes on", fits))
        sums = add_up(self.model, nats, batch.count, self._ranks)
        if not sums.finite:
            kept = self._saver.kept()
            raise not_finite(self.model, batch, sums, step=state.step + 1, rate=share * recipe.lr, kept=kept)
        move(self.model, self.optimizers, sums, recipe.clip)
        self._step_seconds = time.monotonic() - began
        state.step += 1
        state.tokens += recipe.batch_size * self.recipe.model.block_size
        state.seconds = self._clock() - self._began
        commands = yield from self._say(
            Metric(
                step=state.step,
                loss=sums.loss,
                lr=share * recipe.lr,
                grad_norm=sums.norm,
                tokens=state.tokens,
                seconds=state.seconds,
                progress=self._progress(),
            )
        )
        return self._agreed(commands)

    def _micro_batch(self) -> int:
        """Sequences in one forward pass at most: what the recipe allows, or an earlier attempt has come down to."""
        recipe = self.recipe.train
        share = -(-recipe.batch_size // self._ranks.count)
        return min(recipe.micro_batch or share, self.state.micro_batch or self._fits, share)

    def _agreed(self, commands: Commands) -> Commands:
        """What every rank does next, by the first one's clock and the smallest micro-batch."""
        stop, save = Stop() in commands or self._ranks.orphaned, Checkpoint() in commands
        said = self._ranks.exchange(self.state.seconds, self.state.micro_batch, stop, save)
        seconds, micro_batches, stops, saves = zip(*said, strict=True)
        self.state.seconds, self.state.micro_batch = seconds[0], int(min(micro_batches))
        draws = (command for command in commands if isinstance(command, Draw))
        return (*draws, *((Stop(),) if any(stops) else ()), *((Checkpoint(),) if any(saves) else ()))

    def _progress(self) -> float:
        state = self.state
        return progress(self.recipe.train, steps=state.step, tokens=state.tokens, seconds=state.seconds)

    def _ended(self) -> str:
        """Why there is no next step, in words; empty while there is."""
        state, recipe = self.state, self.recipe.train
        if recipe.patience and state.stale >= recipe.patience:
            return f"{state.stale} evaluations in a row were no better"
        return reached(recipe, steps=state.step, tokens=state.tokens, seconds=state.seconds)

    def _say(self, event: Event) -> Generator[Event, Commands | None, Commands]:
        """Yield `event`; the time until the answer, which may be a pause, is not time of training."""
        left = self._clock()
        commands = yield event
        self._began += self._clock() - left
        return commands or ()

    # -- between steps --------------------------------------------------------------------------------------------

    def _evaluate(self, *, final: bool = False, scheduled: bool = True) -> Generator[Event, Commands | None, bool]:
        """Say how good the model is; whether it is better than ever.

        scheduled: it comes at this step in every run of the recipe. Only such ones count where the end hangs on them.
        """
        state = self.state
        every = self.recipe.train.evaluate_tokens
        of: Evaluated = "final evaluation" if final else "evaluation"
        loss, bits_per_byte = yield from self._score(self._validation, every * (FINAL_SLICES if final else 1), of)
        if not final:
            self._train_loss, _ = yield from self._score(self._train_tokens, max(1, every // 4), of)
        # only slices of one size can be compared with one another
        counts = not final and (scheduled or not self.recipe.train.patience)
        best = counts and (state.best is None or loss < state.best)
        if best:
            state.best, state.stale = loss, 0
        self._evaluated_step = state.step
        self._evaluations.happened(state.seconds)
        self._facts |= {"loss": loss, "bits_per_byte": bits_per_byte}
        if not final:
            self._facts["slice_loss"] = loss
        if self.model.mask_token_id is not None:
            self._facts["bound"] = 1
        yield from self._say(
            Evaluation(
                step=state.step,
                loss=loss,
                train_loss=self._train_loss,
                bits_per_byte=bits_per_byte,
                best=best,
                final=final,
                bound=self.model.mask_token_id is not None,
            )
        )
        return best

    def _score(
        self, tokens: TokenStream, limit: int, of: Evaluated
    ) -> Generator[Event, Commands | None, tuple[float, ...]]:
        """Nats per token and bits per byte of `limit` of `tokens`, worked out by the first rank and told to all.

        Raises _Stopping on every rank where it is asked to stop meanwhile.
        """
        loss = bits_per_byte = math.nan
        stop = False
        if self._ranks.first:
            windows = Windows(tokens, self._lengths, block_size=self.recipe.model.block_size, limit=limit)
            total, at, said = Cost(0.0, 0, 0), 0, time.monotonic() if of == "evaluation" else 0.0
            while at < windows.count and not stop:
                if time.monotonic() - said >= PROGRESS_EVERY:
                    said = time.monotonic()
                    share = Progress(done=total.tokens, total=windows.tokens, unit="tokens", of=of)
                    stop = Stop() in (yield from self._say(share))
                most = min(self._evaluation_batch, self.state.micro_batch)
                (cost, done), fits = halving(functools.partial(windows.score, self.model, at), most)
                total, at = total + cost, at + done
                if fits < most:
                    self._evaluation_batch = fits
                    yield from self._say(_halved("evaluation goes on", fits))
            loss, bits_per_byte = total.loss, total.bits_per_byte
        *found, stopping = self._ranks.exchange(loss, bits_per_byte, stop)[0]
        if stopping:
            raise _Stopping
        return tuple(found)

    def _sample(self, draw: Draw) -> Talk:
        if self._ranks.first:
            sample = wanted(self.recipe, self.state.step, draw)
            yield from self._say(drawn(self.model, self.vocabulary, sample, self.recipe.sample.sampling()))

    def _save(self, *, last: bool = False) -> Talk:
        """Save a checkpoint beside the training, with its loss unless somebody waits for the end.

        On a full disk training goes on and the next one may fit; but the last must, else DiskError is raised.
        """
        state = self.state
        if last:
            self._saver.settle()
            yield from self._say_saved()
        newest = self._ranks.exchange(self._saver.step)[0][0]
        if newest == state.step and not state.finished:
            return
        if not last and self._evaluated_step != state.step:
            yield from self._evaluate(scheduled=False)
        facts = self._facts if self._evaluated_step == state.step else {}
        random = self._ranks.gather(checkpoints.random_states())
        if not self._ranks.first:
            return
        snapshot = checkpoints.Snapshot.take(self.model, self.optimizers, state, self._origin, facts, random)
        for event in self._saver.finish(snapshot) if last else self._saver.begin(snapshot):
            yield from self._say(event)

    def _say_saved(self) -> Talk:
        for event in self._saver.poll():
            yield from self._say(event)

    def _resume(self) -> Generator[Event, Commands | None, bool]:
        """Go on from the newest whole checkpoint, or begin; whether there was one."""
        found, damaged = checkpoints.newest(self.directory)
        for damage in damaged:
            yield Note(level="warning", text=f"checkpoint {damage}; going back to the one before it")
        if found is None:
            if damaged:
                yield Note(level="warning", text="no checkpoint is whole: the training begins anew")
            if self._ranks.first:
                yield from start_from(self.recipe.model, self.model, self.vocabulary, Workspace())
            self._ranks.spread(self.model.parameters())
            return False
        changes = since(found, self.recipe, self._origin.tokens)
        self.state = checkpoints.restore(found, self.model, self.optimizers, self._ranks.index)
        self._evaluated_step = -1
        self.state.finished = False  # if the limit is where it was, so is the end
        if any(change.field == "train.precision" for change in changes):
            here = (self._device.dtype, self._device.muon)
            self.state.dtype, self.state.muon_dtype = (str(kind).removeprefix("torch.") for kind in here)
        self.model.dtype = getattr(torch, self.state.dtype)
        multiply_in(self.optimizers, getattr(torch, self.state.muon_dtype))
        self._saver.step = self.state.step
        yield Resumed(step=self.state.step, checkpoint=str(found.path))
        for change in changes:
            yield Note(text=f"{change} from step {self.state.step:,} on")
        return True

    # -- trouble --------------------------------------------------------------------------------------------------

    def _step_back(self, trouble: NonFiniteError) -> Talk:
        """Go back to the last checkpoint at a lower rate; raise `trouble` where that is not wanted or was in vain."""
        self._saver.settle()
        newest = self._ranks.exchange(self._saver.step)[0][0]
        if not self.recipe.train.step_back or self.state.rate_factor < 1 or newest < 0:
            raise trouble
        self.model.zero_grad(set_to_none=True)
        if not (yield from self._resume()):
            raise trouble
        self.state.rate_factor = BACK
        self._began = self._clock() - self.state.seconds
        text = f"{trouble.what}; back to step {self.state.step:,}, at {BACK:g} times the learning rate"
        yield from self._say(Note(level="warning", text=text))

    def _too_big(self) -> TrainingMemoryError:
        return TrainingMemoryError(
            "the memory is too small for this model, even for one sequence of "
            f"{plural(self.recipe.model.block_size, 'token')} at a time",
            kept=self._saver.kept(),
            todo="use a smaller model or a shorter model.block_size",
        )


def _halved(what: str, size: int) -> Note:
    sequences = "one sequence" if size == 1 else f"{size:,} sequences"
    return Note(level="warning", text=f"memory ran out: {what} with {sequences} at a time, to the same result")
