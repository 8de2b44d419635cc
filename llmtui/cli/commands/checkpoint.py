"""Which checkpoint of a run a command looks at."""

from __future__ import annotations

from pathlib import Path

import click

from core.checkpoints import Which, checkpoint_paths, select_checkpoint, step_of
from core.errors import LlmtuiError, UsageError
from core.plural import plural, verb
from core.runs.directory import Run
from core.sample.protocol import Loaded
from core.storage.artifact import Artifact
from llmtui.cli.commands.options import NAMED, Decorator
from llmtui.cli.console import say
from llmtui.view.run_state import next_step, standing

checkpoint_option: Decorator = click.option(
    "--checkpoint",
    type=NAMED,
    metavar="STEP|best|last",
    default="last",
    show_default=True,
    help="best: the lowest validation loss of those kept.",
)


class NoCheckpointError(LlmtuiError):
    doing = "load the model"


class CheckpointNotFoundError(UsageError):
    doing = "load the model"


def place_of(run: Run, wanted: str) -> Path:
    """What the inference process, which checks what it reads, is asked for where `wanted` is: the checkpoint, or for
    "last" the directory of all, of which it takes the newest that it can read.

    Raises CheckpointNotFoundError, NoCheckpointError, DamagedError.
    """
    tell_training(run)
    if wanted == "last" and checkpoint_paths(run.checkpoints):
        return run.checkpoints
    return choose(run, wanted, verify=False).path


def tell_training(run: Run) -> None:
    """Say what it costs to ask a model while its run trains."""
    if run.writer() is not None:
        say("training goes on meanwhile, and is slower: half the cores draw text, at low priority")


def tell(loaded: Loaded) -> None:
    """Say what a person should know before what a model writes."""
    for damage in loaded.passed_over:
        say(f"passing over {damage}")
    if not loaded.precision.startswith("float32"):
        say(f"weights in {loaded.precision}")
    if loaded.changed_by:
        say(as_cleaned(loaded))
    if loaded.dropped_tokens:
        say(f"the prompt is longer than the context: {_lost(loaded.dropped_tokens)}")
    if loaded.dropped_suffix_tokens:
        say(f"the suffix is longer than its room: {_lost(loaded.dropped_suffix_tokens)}")


def _lost(tokens: int) -> str:
    return f"{plural(tokens, 'token')} {verb(tokens, 'was', 'were')} left out"


def as_cleaned(loaded: Loaded, what: str = "the prompt") -> str:
    """What is said of a text that was changed."""
    return f"{what} is read as the training text was cleaned: changed by {', '.join(loaded.changed_by)}"


def choose(run: Run, wanted: str, *, verify: bool = True) -> Artifact:
    """The checkpoint `wanted` names: a step, best or last. Damaged ones are passed over, which is said.

    verify: read all of it, too (see `Artifact.open`). Raises CheckpointNotFoundError, NoCheckpointError, DamagedError.
    """
    if not wanted.isdecimal() and wanted not in ("best", "last"):
        raise CheckpointNotFoundError(f"{wanted!r} names no checkpoint", todo="give a step, best or last")
    which: Which = int(wanted) if wanted.isdecimal() else "best" if wanted == "best" else "last"
    checkpoint, skipped = select_checkpoint(run.checkpoints, which, verify=verify)
    if isinstance(which, int) and checkpoint is None:
        if skipped:
            raise skipped[0].error
        kept = ", ".join(str(step_of(path)) for path in checkpoint_paths(run.checkpoints)) or "none yet"
        raise CheckpointNotFoundError(
            f"there is no checkpoint of step {wanted}", where=run.id, todo=f"kept are: {kept}"
        )
    for damaged in skipped:
        say(f"passing over {damaged}")
    if checkpoint is None:
        what = "no checkpoint can be read" if skipped else "there is no checkpoint yet"
        raise NoCheckpointError(f"{what} ({standing(run)})", where=run.id, todo=next_step(run))
    return checkpoint
