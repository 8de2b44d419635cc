"""Changing the recipe of a stopped run before it is resumed."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import msgspec

from core.errors import UsageError
from core.init.resolve import Resolver
from core.plural import plural
from core.recipe.file import load
from core.runs.directory import Run, RunState
from core.storage.workspace import Workspace
from core.train.resume_compat import RecipeChange, recipe_changes, reject_forbidden
from core.train.schedule import progress


class RecipeChangeError(UsageError):
    doing = "continue a run that is done"


def change_recipe(
    run: Run, overrides: Iterable[str], note: Callable[[str], None] = lambda _: None
) -> list[RecipeChange]:
    """Apply `overrides`, `section.field=value` each, to the recipe of `run`, and return the changes.

    Raises RecipeError, ResumeConflictError for a field that must stay, RecipeChangeError for a finished run that
    would end at once, RunActiveError, DiskError. The run is then unchanged.
    """
    base = msgspec.to_builtins(run.recipe, str_keys=True)
    recipe = load(base=base, overrides=overrides, init=Resolver(Workspace()), note=note)
    changes = recipe_changes(run.recipe, recipe)
    reject_forbidden(changes, run.id)
    summary = run.summary()
    metric = summary.metric
    if run.state() is RunState.DONE and metric and any(change.field.startswith("train.") for change in changes):
        done = progress(recipe.train, steps=metric.step, tokens=metric.tokens, seconds=metric.seconds)
        if done >= 1:
            steps = plural(metric.step, "step")
            raise RecipeChangeError(
                f"it has reached its end after {steps}, and that is its end with these settings, too",
                where=run.id,
                todo=f"give it a later end, such as --set train.steps={2 * metric.step}",
            )
    if changes:
        run.rewrite(recipe, run.processes)
    return changes
