"""Changes of the learning rate while a run trains. Imports no torch.

They are kept in a file beside the checkpoints, so that the learning rate stays a pure function of the step, and a
training that resumes from any checkpoint takes the same steps again. A change is a factor of every learning rate of the
recipe: warm-up and schedule continue, and parameter groups keep their proportions.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec
from msgspec import Struct

from core.errors import LlmtuiError, UsageError
from core.parsing import ParseError, read_json
from core.recipe.schema import Train
from core.storage.files import write_atomic

FILE = "learning-rate.json"


class LearningRateError(UsageError):
    doing = "change the learning rate"


class LearningRateFileError(LlmtuiError):
    doing = "continue at the learning rate it had"


class LrChange(Struct, frozen=True, kw_only=True):
    """One change."""

    step: int
    """The last step before it."""
    factor: float
    """Of every learning rate of the recipe, from the next step on; it replaces the factor before it."""


def read_lr_changes(checkpoints: Path) -> tuple[LrChange, ...]:
    """The changes of the run whose checkpoints are in `checkpoints`, by step. Raises LearningRateFileError."""
    try:
        return read_json(checkpoints / FILE, tuple[LrChange, ...])
    except FileNotFoundError:
        return ()
    except (OSError, ParseError) as error:
        todo = "mend it; without it, the run continues at the learning rate of its recipe"
        raise LearningRateFileError(f"{FILE} cannot be read ({error})", where=str(checkpoints), todo=todo) from None


def write_lr_changes(checkpoints: Path, changes: Sequence[LrChange]) -> None:
    """Replace the changes. Raises OSError."""
    write_atomic(checkpoints / FILE, msgspec.json.encode(changes))


def with_lr_change(changes: Iterable[LrChange], change: LrChange) -> tuple[LrChange, ...]:
    """`changes` with one more, and without those of later steps, which are trained again."""
    return (*changes_before(changes, change.step), change)


def changes_before(changes: Iterable[LrChange], step: int) -> tuple[LrChange, ...]:
    """The changes that a branch from the checkpoint of `step` takes over: not the one that was made there, so that
    branching from the checkpoint that was saved for it undoes it."""
    return tuple(change for change in changes if change.step < step)


def lr_change_factor(changes: Iterable[LrChange], step: int) -> float:
    """The factor in force after `step` steps."""
    return next((change.factor for change in reversed(tuple(changes)) if change.step <= step), 1.0)


def parse_lr(text: str, recipe: Train, factor: float) -> float:
    """The factor that `text` asks for: a peak learning rate, as `train.lr`, or `x0.5` for that times the present one.

    factor: the present one. Raises LearningRateError.
    """
    text = text.strip().replace(",", ".")
    relative = text[:1] in ("x", "×", "*")
    try:
        number = float(text[1:] if relative else text)
    except ValueError:
        number = math.nan
    if math.isnan(number):
        raise LearningRateError(f"{text!r} is not a number", todo="write a peak such as 4e-4, or a factor such as x0.5")
    wanted = factor * number if relative else number / recipe.lr
    if not 0 < wanted * recipe.lr <= 1:
        raise LearningRateError(
            f"a peak of {wanted * recipe.lr:g} is not above 0 and at most 1", todo="write one such as 4e-4, or x0.5"
        )
    return wanted
