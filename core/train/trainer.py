"""The training loop: a generator that says what happens at every step and is told what to do next."""

from __future__ import annotations

import contextlib
import errno
import math
import time
from collections.abc import Generator, Iterator
from pathlib import Path

import msgspec
import torch

from core.artifact import Artifact, Facts, fingerprint
from core.events import Evaluation, Event, Metric, Note, Resumed, Sample, Saved, Shape
from core.model.device import Device
from core.model.gpt import GPT
from core.recipe import Recipe
from core.sample.generate import Settings, write
from core.tokenize.shards import TokenStream
from core.tokenize.vocabulary import Vocabulary
from core.train import checkpoint as checkpoints
from core.train.batches import Batches
from core.train.commands import Checkpoint, Commands, Draw, Stop
from core.train.evaluate import byte_lengths, score
from core.train.optimizer import optimizers
from core.train.schedule import progress, warm_and_cool
from core.trouble import DiskTrouble, Trouble

FORMAT = 1
"""Of what a fingerprint of this stage stands for."""

FINAL_SLICES = 64
"""How many times the slice the last evaluation may look at: everything for most, and still minutes for a library."""

Talk = Generator[Event, Commands | None, None]
"""Yields what there is to say; what is sent back is asked for after the step at hand."""


class NotFinite(Trouble):
    """The loss or a gradient became infinite or not a number."""

    doing = "go on training"


class OutOfMemory(Trouble):
    doing = "train"


def identify(recipe: Recipe, tokens: Artifact) -> str:
    """Fingerprint of what checkpoints hold: the model, how it is trained, and on what."""
    return fingerprint("train", FORMAT, recipe.model, recipe.train, tokens.content())


class Trainer:
    """One model being trained in `directory`, from its newest checkpoint or from the beginning."""

    def __init__(self, recipe: Recipe, tokens: Artifact, directory: Path, device: Device) -> None:
        self.recipe, self.directory = recipe, directory
        self._fingerprint = identify(recipe, tokens)
        self._vocabulary_file = tokens.path / "vocabulary.json"
        self.vocabulary = Vocabulary.load(self._vocabulary_file)
        self._train_tokens = TokenStream(tokens.files("train-*.tokens"))
        self._validation = TokenStream(tokens.files("validation-*.tokens"))
        self._batches = Batches(
            self._train_tokens,
            block_size=recipe.model.block_size,
            batch_size=recipe.train.batch_size,
            seed=recipe.train.seed,
        )
        self._lengths = byte_lengths(self.vocabulary)
        self._saved_step = self._evaluated_step = -1
        torch.manual_seed(recipe.train.seed)
        with self._in_memory():
            self.model = GPT(recipe.model, self.vocabulary.size, dtype=device.dtype).to(device.torch)
        self.optimizers = optimizers(self.model, recipe.train)
        self.state = checkpoints.State(dtype=str(device.dtype).removeprefix("torch."))
        self._facts: Facts = {}
        self._losses: list[float] = []  # since the last evaluation
        self._train_loss: float | None = None
        self._began = 0.0  # on the monotonic clock, moved forward by every pause

    def run(self) -> Talk:
        """Train until a limit is reached or `Stop` is sent. The last checkpoint is saved before it returns.

        Raises NotFinite before a step that would spoil the weights, OutOfMemory, TooFewTokens.
        """
        with self._in_memory():
            yield from self._run()

    def _run(self) -> Talk:
        yield from self._resume()
        yield Shape(
            parameters=self.model.parameter_count(),
            flops_per_token=self.model.flops_per_token(),
            vocabulary=self.vocabulary.size,
            tokens=len(self._train_tokens),
        )
        self._began = time.monotonic() - self.state.seconds
        self.model.train()
        if self.state.step == 0:
            yield from self._evaluate()
        every = self.recipe.train
        while self._progress() < 1:
            commands = yield from self._step()
            step = self.state.step
            if Stop() in commands:
                yield from self._save(last=True)
                return
            for draw in [command for command in commands if isinstance(command, Draw)]:
                yield from self._sample(draw)
            if self._progress() >= 1:
                break
            if step % every.sample_every == 0:
                yield from self._sample(Draw())
            if step % every.evaluate_every == 0:
                yield from self._evaluate()
            if step % every.checkpoint_every == 0 or Checkpoint() in commands:
                yield from self._save()
        self.state.finished = True
        yield from self._evaluate()
        yield from self._evaluate(final=True)
        yield from self._save(last=True)

    # -- one step -----------------------------------------------------------------------------------------------

    def _step(self) -> Generator[Event, Commands | None, Commands]:
        recipe, state = self.recipe.train, self.state
        share = warm_and_cool(recipe, self._progress())
        rate = share * recipe.lr
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = share * group["peak"]
        total = torch.zeros((), device=self.model.device)
        for micro in range(recipe.accumulate):
            ids, targets = self._batches(state.step * recipe.accumulate + micro)
            loss = self.model.loss(ids.to(self.model.device), targets.to(self.model.device)) / recipe.accumulate
            loss.backward()  # type: ignore[no-untyped-call]
            total += loss.detach()
        clip = recipe.clip or math.inf
        norm = float(torch.nn.utils.clip_grad_norm_(self.model.parameters(), clip))
        mean = float(total)
        if not (math.isfinite(mean) and math.isfinite(norm)):
            raise self._not_finite(mean, norm, rate)
        for optimizer in self.optimizers:
            optimizer.step()
        self.model.zero_grad(set_to_none=True)
        state.step += 1
        state.tokens += recipe.batch_size * recipe.accumulate * self.recipe.model.block_size
        self._losses.append(mean)
        state.seconds = time.monotonic() - self._began
        commands = yield from self._say(
            Metric(
                step=state.step,
                loss=mean,
                lr=rate,
                grad_norm=norm,
                tokens=state.tokens,
                seconds=state.seconds,
                progress=self._progress(),
            )
        )
        return commands

    def _progress(self) -> float:
        state = self.state
        return progress(self.recipe.train, steps=state.step, tokens=state.tokens, seconds=state.seconds)

    def _say(self, event: Event) -> Generator[Event, Commands | None, Commands]:
        """Yield `event`; the time until the answer, which may be a pause, is not time of training."""
        left = time.monotonic()
        commands = yield event
        self._began += time.monotonic() - left
        return commands or ()

    # -- between steps --------------------------------------------------------------------------------------------

    def _evaluate(self, *, final: bool = False) -> Talk:
        state, every = self.state, self.recipe.train
        limit = every.evaluate_tokens * (FINAL_SLICES if final else 1)
        result = score(self.model, self._validation, self._lengths, batch_size=every.batch_size, limit=limit)
        # only slices of one size can be compared with one another
        best = not final and (state.best is None or result.loss < state.best)
        if best:
            state.best = result.loss
        if self._losses:
            self._train_loss = sum(self._losses) / len(self._losses)
            self._losses.clear()
        self._evaluated_step = state.step
        self._facts |= {"loss": result.loss, "bits_per_byte": result.bits_per_byte}
        if not final:
            self._facts["slice_loss"] = result.loss
        yield from self._say(
            Evaluation(
                step=state.step,
                loss=result.loss,
                train_loss=self._train_loss,
                bits_per_byte=result.bits_per_byte,
                best=best,
                final=final,
            )
        )

    def _sample(self, draw: Draw) -> Talk:
        recipe = self.recipe.sample
        prompts = recipe.prompts
        prompt = prompts[(self.state.step // self.recipe.train.sample_every) % len(prompts)]
        event = Sample(
            step=self.state.step,
            prompt=prompt if draw.prompt is None else draw.prompt,
            text="",
            temperature=recipe.temperature if draw.temperature is None else draw.temperature,
            top_k=recipe.top_k if draw.top_k is None else draw.top_k,
            top_p=recipe.top_p if draw.top_p is None else draw.top_p,
            seed=recipe.seed if draw.seed is None else draw.seed,
        )
        yield from self._say(drawn(self.model, self.vocabulary, event, recipe.tokens))

    def _save(self, *, last: bool = False) -> Talk:
        """Save a checkpoint, with its loss unless somebody waits for the end.

        On a full disk training goes on and the next one may fit; but the last must, else DiskTrouble is raised.
        """
        state = self.state
        if self._saved_step == state.step and not state.finished:
            return
        if not last and self._evaluated_step != state.step:
            yield from self._evaluate()
        facts: Facts = {"step": state.step, "finished": int(state.finished)}
        facts |= self._facts if self._evaluated_step == state.step else {}
        began = time.monotonic()
        try:
            if not checkpoints.has_room(self.directory):
                raise OSError(errno.ENOSPC, "the disk has too little room for another checkpoint")
            saved = checkpoints.save(
                self.directory,
                self.model,
                self.optimizers,
                state,
                self._vocabulary_file,
                fingerprint=self._fingerprint,
                facts=facts,
            )
        except OSError as error:
            trouble = DiskTrouble.of(error, self.directory, kept=self._kept())
            if last:
                raise trouble from None
            what = f"no checkpoint at step {state.step:,}: {trouble.what}; {trouble.kept}"
            yield Note(level="warning", text=what)
            return
        self._saved_step = state.step
        checkpoints.retain(self.directory, self.recipe.train.keep)
        size = sum(file.bytes for file in saved.manifest.files.values())
        yield from self._say(Saved(step=state.step, path=str(saved.path), bytes=size, seconds=time.monotonic() - began))

    def _resume(self) -> Talk:
        found, damaged = checkpoints.newest(self.directory)
        for damage in damaged:
            yield Note(level="warning", text=f"checkpoint {damage}; going back to the one before it")
        if found is None:
            return
        self.state = checkpoints.restore(found, self.model, self.optimizers)
        self.model.dtype = getattr(torch, self.state.dtype)
        self._saved_step = self.state.step
        yield Resumed(step=self.state.step, checkpoint=str(found.path))

    # -- trouble --------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _in_memory(self) -> Iterator[None]:
        """Make every way in which torch says that memory has run out an OutOfMemory."""
        try:
            yield
        except (torch.OutOfMemoryError, MemoryError):
            raise self._too_big() from None
        except RuntimeError as error:
            if "can't allocate memory" not in str(error):  # the CPU allocator has no class of its own for it
                raise
            raise self._too_big() from None

    def _kept(self) -> str:
        if self._saved_step < 0:
            return "no checkpoint had been saved yet"
        return f"the checkpoint of step {self._saved_step:,} is kept"

    def _not_finite(self, loss: float, norm: float, rate: float) -> NotFinite:
        bad = [name for name, p in self.model.named_parameters() if p.grad is not None and not p.grad.isfinite().all()]
        where = f"first in the gradient of {bad[0]}" if bad else "in the loss"
        return NotFinite(
            f"loss {loss:g} and gradient norm {norm:g} at step {self.state.step + 1:,}, {where}",
            where=f"learning rate {rate:.2g}",
            kept=f"the weights were not touched; {self._kept()}",
            todo=f"a lower learning rate usually helps: --set train.lr={self.recipe.train.lr / 3:.1g}",
        )

    def _too_big(self) -> OutOfMemory:
        batch, accumulate = self.recipe.train.batch_size, self.recipe.train.accumulate
        half = max(1, batch // 2)
        smaller = f"--set train.batch_size={half} --set train.accumulate={accumulate * 2}"
        return OutOfMemory(
            f"the memory is too small for batch_size {batch} at block_size {self.recipe.model.block_size}",
            kept=self._kept(),
            todo=f"the same training in smaller pieces: {smaller}; or a smaller model"
            if batch > 1
            else "use a smaller model or a shorter model.block_size",
        )


def drawn(model: GPT, vocabulary: Vocabulary, sample: Sample, tokens: int) -> Sample:
    """`sample` with its text: up to `tokens` tokens that continue its prompt."""
    settings = Settings(
        tokens=tokens,
        temperature=sample.temperature,
        top_k=sample.top_k,
        top_p=sample.top_p,
        seed=sample.seed,
    )
    return msgspec.structs.replace(sample, text=write(model, vocabulary, sample.prompt, settings))
