"""Branches: new runs that continue from a checkpoint of another one.

A branch starts with the checkpoint of its parent in its own directory, so it continues as a resumed run does: with the
weights, the state of the optimizer, the random states, the step, and the place in the text.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from core.checkpoints import step_of
from core.errors import DiskError, UsageError
from core.init.resolve import Resolver
from core.parsing import ParseError, read_json
from core.recipe.file import load
from core.recipe.schema import Recipe
from core.runs.directory import Run
from core.runs.run_file import Parent
from core.storage.artifact import Artifact
from core.storage.workspace import Workspace
from core.train.lr_changes import changes_before, read_lr_changes, write_lr_changes
from core.train.resume_compat import RecipeChange, recipe_changes, reject_forbidden
from core.train.schedule import reached_limit


class BranchError(UsageError):
    doing = "branch the run"


class _Position(Struct):
    """The part of `core.train.checkpoint.TrainingState` that limits are compared with."""

    step: int
    tokens: int
    seconds: float


def branch_name(run: Run, step: int) -> str:
    """The name of a branch unless the user gives it another one: `bard-400` of `bard`."""
    suffix = f"-{step}"
    return run.name[: 64 - len(suffix)] + suffix


def branch_recipe(
    run: Run, step: int, overrides: Iterable[str] = (), *, note: Callable[[str], None] = lambda _: None
) -> Recipe:
    """The recipe of a branch of `run`: that of the run with `overrides`, `section.field=value` each, and its own name.

    note: receives remarks about the overrides. Raises RecipeError, InitError.
    """
    base = msgspec.to_builtins(run.recipe, str_keys=True) | {"name": branch_name(run, step)}
    return load(base=base, overrides=overrides, init=Resolver(Workspace()), note=note)


def branch_changes(run: Run, recipe: Recipe) -> list[RecipeChange]:
    """How the recipe of a branch differs from that of `run`, apart from the name."""
    return recipe_changes(run.recipe, replace(recipe, name=run.name))


def create_branch(
    workspace: Workspace, run: Run, checkpoint: Artifact, recipe: Recipe, processes: int | None = None
) -> Run:
    """Create a run that continues from `checkpoint` of `run`, without starting it.

    recipe: see `branch_recipe`. processes: by default as many as train `run`. Raises ResumeConflictError for a field
    that must stay, BranchError, InvalidNameError, DiskError.
    """
    step = step_of(checkpoint.path)
    reject_forbidden(branch_changes(run, recipe), run.id)
    check_limit(checkpoint.path, recipe)
    lr_changes = changes_before(read_lr_changes(run.checkpoints), step)

    def add_checkpoint(directory: Path) -> None:
        copy = directory / checkpoint.path.name
        copy.mkdir(mode=0o700)
        for file in checkpoint.path.iterdir():
            _link_or_copy(file, copy / file.name)
        if lr_changes:
            write_lr_changes(directory, lr_changes)

    processes, parent = processes or run.processes, Parent(run=run.id, step=step)
    try:
        return Run.create(workspace, recipe, processes, parent=parent, add_checkpoint=add_checkpoint)
    except DiskError:
        if checkpoint.path.is_dir():
            raise
        what = f"its checkpoint of step {step:,} has just been deleted: a run keeps the newest ones, and the best"
        raise BranchError(what, where=run.id, todo="branch from a later one") from None


def check_limit(checkpoint: Path, recipe: Recipe) -> None:
    """Raise BranchError if a training by `recipe` that continues from `checkpoint` has reached its limit already."""
    try:
        at = read_json(checkpoint / "state.json", _Position)
    except (OSError, ParseError) as error:
        raise BranchError(f"its training state cannot be read ({error})", where=str(checkpoint)) from None
    reached = reached_limit(recipe.train, steps=at.step, tokens=at.tokens, seconds=at.seconds)
    if reached:
        raise BranchError(
            f"a branch from step {at.step:,} would end at once: {reached}",
            where=str(checkpoint),
            todo=f"branch from an earlier checkpoint, or set a later end, such as train.steps={2 * at.step}",
        )


def _link_or_copy(source: Path, target: Path) -> None:
    """Make `target` a hard link: files of checkpoints are never changed, and each run deletes its own names only."""
    try:
        target.hardlink_to(source)
    except FileNotFoundError:
        raise
    except OSError:  # a file system without hard links
        shutil.copy2(source, target)
