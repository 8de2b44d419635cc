"""Evaluations during training: their progress, what they report, and whether the model is the best so far."""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Generator
from typing import Literal

from core.events import Evaluation, Event, Note, Progress
from core.model.gpt import GPT
from core.model.text_loss import TextLoss
from core.recipe.schema import Recipe
from core.storage.artifact import Facts
from core.tokenize.shards import TokenStream
from core.tokenize.vocabulary import Vocabulary
from core.train.checkpoint import TrainingState
from core.train.clock import TrainingClock
from core.train.commands import Commands, Stop
from core.train.distributed import ProcessGroup
from core.train.evaluate import EvaluationWindows, byte_lengths
from core.train.out_of_memory import halve_on_out_of_memory

FINAL_SLICES = 64
"""Size limit of the final evaluation, in slices of evaluate_tokens: all of most texts, minutes for a very large one."""

PROGRESS_EVERY = 0.5
"""Seconds between two progress events of an evaluation."""

Kind = Literal["evaluation", "final evaluation"]


class EvaluationStopped(Exception):
    """`Stop` was sent during an evaluation. Raised on every rank."""


class Evaluator:
    """Evaluates `model` on the validation text and on a slice of the training text. Rank 0 does the work."""

    def __init__(
        self,
        recipe: Recipe,
        model: GPT,
        vocabulary: Vocabulary,
        *,
        train: TokenStream,
        validation: TokenStream,
        group: ProcessGroup,
        clock: TrainingClock,
    ) -> None:
        self._recipe, self._model, self._group, self._clock = recipe, model, group, clock
        self._train, self._validation, self._lengths = train, validation, byte_lengths(vocabulary)
        self._batch_size = recipe.train.batch_size
        self._train_loss: float | None = None
        self.step = -1
        """Of the last evaluation in this process; -1 before the first."""
        self.facts: Facts = {}
        """The losses of the last evaluation, as a checkpoint records them."""

    def run(
        self, state: TrainingState, *, final: bool = False, scheduled: bool = True
    ) -> Generator[Event, Commands | None, bool]:
        """Emit the losses, and return whether the validation loss is the lowest so far; `state` is updated.

        scheduled: every run of the recipe evaluates at this step. With `train.patience` only such evaluations count
        as best. Raises EvaluationStopped.
        """
        limit = self._recipe.train.evaluate_tokens
        kind: Kind = "final evaluation" if final else "evaluation"
        validation = yield from self._evaluate(
            self._validation, limit * (FINAL_SLICES if final else 1), kind, state.micro_batch
        )
        loss, bits_per_byte = validation
        if not final:
            self._train_loss, _ = yield from self._evaluate(self._train, max(1, limit // 4), kind, state.micro_batch)
        # losses are comparable only between slices of the same size
        counts = not final and (scheduled or not self._recipe.train.patience)
        best = counts and (state.best is None or loss < state.best)
        if best:
            state.best, state.stale = loss, 0
        bound = self._model.mask_token_id is not None
        self.step = state.step
        self.facts |= {"loss": loss, "bits_per_byte": bits_per_byte}
        self.facts |= ({} if final else {"slice_loss": loss}) | ({"bound": 1} if bound else {})
        yield from self._clock.emit(
            Evaluation(
                step=state.step,
                loss=loss,
                train_loss=self._train_loss,
                bits_per_byte=bits_per_byte,
                best=best,
                final=final,
                bound=bound,
            )
        )
        return best

    def _evaluate(
        self, tokens: TokenStream, limit: int, kind: Kind, micro_batch: int
    ) -> Generator[Event, Commands | None, tuple[float, ...]]:
        """Nats per token and bits per byte of `limit` of `tokens`, on every rank. Raises EvaluationStopped."""
        loss = bits_per_byte = math.nan
        stop = False
        if self._group.is_main:
            windows = EvaluationWindows(tokens, self._lengths, block_size=self._recipe.model.block_size, limit=limit)
            # the first progress of a final evaluation is emitted at once: nothing else is shown meanwhile
            reported = time.monotonic() if kind == "evaluation" else 0.0
            total, done = TextLoss(0.0, 0, 0), 0
            while done < windows.count and not stop:
                if time.monotonic() - reported >= PROGRESS_EVERY:
                    reported = time.monotonic()
                    progress = Progress(done=total.tokens, total=windows.tokens, unit="tokens", of=kind)
                    stop = Stop() in (yield from self._clock.emit(progress))
                batch_size = min(self._batch_size, micro_batch)
                evaluate = functools.partial(windows.evaluate, self._model, done)
                (cost, count), fits = halve_on_out_of_memory(evaluate, batch_size)
                total, done = total + cost, done + count
                if fits < batch_size:
                    self._batch_size = fits
                    yield from self._clock.emit(smaller_batch_note("evaluation continues", fits))
            loss, bits_per_byte = total.loss, total.bits_per_byte
        *losses, stopped = self._group.all_gather(loss, bits_per_byte, stop)[0]
        if stopped:
            raise EvaluationStopped
        return tuple(losses)


def smaller_batch_note(what: str, size: int) -> Note:
    """The warning that memory ran out. what: a clause that says what continues."""
    sequences = "one sequence" if size == 1 else f"{size:,} sequences"
    return Note(level="warning", text=f"memory ran out: {what} with {sequences} at a time, to the same result")
