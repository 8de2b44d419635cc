"""What a form gives: the recipe, what it will take, the equivalent command, and a recipe file."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from core.checkpoints import step_of
from core.errors import DiskError, LlmtuiError, UsageError
from core.init.resolve import Resolver
from core.recipe.file import to_toml
from core.recipe.overrides import overrides_to
from core.recipe.schema import Recipe
from core.runs.measured_speed import MeasuredSpeed
from core.sources.catalog import source_name
from core.storage.files import write_atomic
from core.storage.workspace import Workspace
from llmtui.tui.recipe_form import DEFAULT_PRESET, FormInputs, Resolved, resolve_form, typed_overrides
from llmtui.view.forecast_text import Forecast, forecast


class FormResult(NamedTuple):
    """What the panes of a form show."""

    resolved: Resolved
    forecast: Forecast | None
    command: list[str]
    """Words; empty where there is no recipe."""


def form_result(inputs: FormInputs, workspace: Workspace, speeds: Sequence[MeasuredSpeed]) -> FormResult:
    """Everything that follows from a form. Reads the disk, and takes some milliseconds."""
    resolved = resolve_form(inputs, workspace)
    if resolved.recipe is None:
        return FormResult(resolved, None, [])
    try:
        command = command_words(inputs, resolved.recipe, workspace)
    except LlmtuiError:  # a run that is gone, in model.init; the form shows it as a problem
        command = []
    return FormResult(resolved, forecast(resolved.recipe, speeds), command)


class RecipeFileError(UsageError):
    doing = "save the recipe"


class RecipeExistsError(RecipeFileError):
    """There is a file of that name."""


def command_words(inputs: FormInputs, recipe: Recipe, workspace: Workspace) -> list[str]:
    """The words of the command that does the same as the form. Raises RecipeError."""
    if inputs.purpose == "resume" and inputs.run:
        return ["llmtui", "resume", inputs.run.id, *_options(typed_overrides(inputs.texts).values())]
    if inputs.checkpoint and inputs.run:
        words = ["llmtui", "branch", inputs.run.id, "--checkpoint", str(step_of(inputs.checkpoint))]
        words += ["--name", recipe.name] if "name" in inputs.texts else []
        typed = {key: text for key, text in inputs.texts.items() if key != "name"}
        return [*words, *_options(typed_overrides(typed).values())]
    preset = inputs.preset if inputs.purpose == "new" and inputs.preset != DEFAULT_PRESET else None
    words = ["llmtui", "run", recipe.source.corpus]
    words += ["--preset", preset] if preset else []
    words += ["--name", recipe.name] if recipe.name != source_name(recipe.source.corpus) else []
    return [*words, *_options(overrides_to(recipe, preset=preset, init=Resolver(workspace)))]


def _options(overrides: Iterable[str]) -> list[str]:
    return [word for override in overrides for word in ("--set", override)]


def save_recipe(recipe: Recipe, path: str, *, replace: bool = False) -> Path:
    """Write `recipe` as a TOML file and return its path. Raises RecipeFileError, RecipeExistsError, DiskError.

    replace: an existing file.
    """
    # not pathlib's, which raises if there is no such user
    file = Path(os.path.expanduser(path)).absolute()  # noqa: PTH111
    if not file.name.endswith(".toml"):
        raise RecipeFileError(
            "the name of a recipe file ends in .toml", where=str(file), todo=f"such as {file.name or 'recipe'}.toml"
        )
    try:
        if file.exists() and not replace:
            raise RecipeExistsError("the file exists already", where=str(file), todo="name another")
        write_atomic(file, to_toml(recipe).encode())
    except OSError as error:
        raise DiskError.from_oserror(error, file, kept="nothing was written") from None
    return file
