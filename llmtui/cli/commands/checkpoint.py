"""The `--checkpoint` option: selects a checkpoint of a run for a command, and reports what was loaded."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from core.checkpoints import Which, best_checkpoint, checkpoint_paths, select_checkpoint, step_of
from core.errors import LlmtuiError, UsageError
from core.plural import plural, verb
from core.runs.directory import Run
from core.runs.remote_state import inference_checkpoints, inference_paths
from core.sample.protocol import Loaded
from core.storage.artifact import Artifact
from llmtui.cli.commands.options import NAME, Decorator
from llmtui.cli.console import print_message
from llmtui.clients.remote_inference import is_remote
from llmtui.view.run_state import next_step_text, state_text

checkpoint_option: Decorator = click.option(
    "--checkpoint",
    type=NAME,
    metavar="STEP|best|last",
    default="last",
    show_default=True,
    help="Checkpoint to load; best: the lowest validation loss of those kept.",
)


class NoCheckpointError(LlmtuiError):
    """The run has no readable checkpoint."""

    doing = "load the model"


class CheckpointNotFoundError(UsageError):
    """The run has no checkpoint of that name."""

    doing = "load the model"


def checkpoint_path(run: Run, name: str) -> Path:
    """The path to request from the inference process for checkpoint `name`: a step, best or last.

    For "last" this is the directory of all checkpoints, of which the process loads the newest readable one.
    Raises CheckpointNotFoundError, NoCheckpointError, DamagedError.
    """
    print_if_training(run)
    newest = next(iter(inference_paths(run)), None)
    if name == "last" and newest:
        return newest.parent
    return inference_checkpoint(run, name, verify=False).path


def inference_checkpoint(run: Run, name: str, *, verify: bool = True) -> Artifact:
    """`load_checkpoint`, but of the mirror of a run also one on its host, of which only the facts are here."""
    chosen = _known_checkpoint(inference_checkpoints(run), name) if run.host else None
    return chosen if chosen and is_remote(chosen.path) else load_checkpoint(run, name, verify=verify)


def _known_checkpoint(checkpoints: Sequence[Artifact], name: str) -> Artifact | None:
    """That of `checkpoints`, the oldest first, which `name` means; None if there is none."""
    newest = checkpoints[-1] if checkpoints else None
    if name == "best":
        return best_checkpoint(checkpoints) or newest
    if name == "last":
        return newest
    return next((known for known in checkpoints if name == str(step_of(known.path))), None)


def print_if_training(run: Run) -> None:
    """Print that inference slows down the run's training, if it is training."""
    if run.writer() is not None:
        print_message("training continues, and is slower: half the cores generate text, at low priority")


def print_loaded(loaded: Loaded) -> None:
    """Print warnings about the loaded model and prompt: skipped checkpoints, precision, cleaning, truncation."""
    for damage in loaded.passed_over:
        print_message(f"skipping {damage}")
    if not loaded.precision.startswith("float32"):
        print_message(f"weights in {loaded.precision}")
    if loaded.changed_by:
        print_message(cleaning_message(loaded))
    if loaded.dropped_tokens:
        print_message(f"the prompt is longer than the context: {_left_out(loaded.dropped_tokens)}")
    if loaded.dropped_suffix_tokens:
        print_message(f"the suffix is longer than the context: {_left_out(loaded.dropped_suffix_tokens)}")


def _left_out(tokens: int) -> str:
    return f"{plural(tokens, 'token')} {verb(tokens, 'was', 'were')} left out"


def cleaning_message(loaded: Loaded, what: str = "the prompt") -> str:
    """The message that `what` was changed by cleaning steps."""
    return f"{what} is cleaned like the training text: changed by {', '.join(loaded.changed_by)}"


def load_checkpoint(run: Run, name: str, *, verify: bool = True) -> Artifact:
    """Checkpoint `name` (a step, best or last) of `run`; damaged ones are skipped, with a message.

    verify: check all files, see `Artifact.open`. Raises CheckpointNotFoundError, NoCheckpointError, DamagedError.
    """
    if not name.isdecimal() and name not in ("best", "last"):
        raise CheckpointNotFoundError(f"there is no checkpoint {name!r}", todo="give a step, best or last")
    which: Which = int(name) if name.isdecimal() else "best" if name == "best" else "last"
    checkpoint, skipped = select_checkpoint(run.checkpoints, which, verify=verify)
    if isinstance(which, int) and checkpoint is None:
        if skipped:
            raise skipped[0].error
        kept = ", ".join(str(step_of(path)) for path in checkpoint_paths(run.checkpoints)) or "none yet"
        raise CheckpointNotFoundError(
            f"there is no checkpoint of step {name}", where=run.id, todo=f"checkpoints: {kept}"
        )
    for damaged in skipped:
        print_message(f"skipping {damaged}")
    if checkpoint is None:
        what = "no checkpoint can be read" if skipped else "there is no checkpoint yet"
        if run.host and not skipped:
            todo = f"llmtui hosts fetch {run.id} copies one from {run.host}"
            raise NoCheckpointError("there is no checkpoint of it on this machine", where=run.id, todo=todo)
        raise NoCheckpointError(f"{what} ({state_text(run)})", where=run.id, todo=next_step_text(run))
    return checkpoint
