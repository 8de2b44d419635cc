"""Resolves `model.init` for a recipe: which run or folder it names, and which fields follow from its weights.

A recipe is parsed without it (`core.recipe.file.load`); to train a recipe, `Resolver` is passed to `load`.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, get_args, get_type_hints

import msgspec
from msgspec import Struct

from core.checkpoints import checkpoint_paths, step_of
from core.init.compat import MODEL_FIELDS, check_config, check_vocabulary
from core.init.config import read_config, read_json
from core.init.gpt2 import gpt2_tables
from core.init.spec import PUBLISHED, HubModel, InitError, RunCheckpoint, parse_init
from core.recipe.checks import RecipeError
from core.recipe.schema import Model, Recipe, Tokenize
from core.run_names import RunNotFoundError, match_runs, run_ids
from core.storage.workspace import Workspace


class Resolver:
    """`core.recipe.file.InitResolver` with the runs of a workspace."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace

    def locate(self, init: str, folder: Path) -> str:
        """See `core.recipe.file.InitResolver`. A run that does not exist stays as it is."""
        with _as_recipe_error():
            return resolve_init(init, folder, self._workspace)

    def implied(self, model: Mapping[str, Any]) -> dict[str, Any]:
        """See `core.recipe.file.InitResolver`. Empty where the tables have all fields, as in the recipe of a run."""
        optional = {name for name in MODEL_FIELDS if getattr(Model(), name) is None}
        if not model.get("init") or optional | set(model) >= set(MODEL_FIELDS):
            return {}
        with _as_recipe_error():
            return implied_tables(model["init"], self._workspace)

    def check(self, recipe: Recipe, implied: Mapping[str, Any]) -> None:
        """See `core.recipe.file.InitResolver`."""
        with _as_recipe_error():
            check_config(recipe.model, Model(**implied["model"]))
            check_vocabulary(recipe, implied)


@contextlib.contextmanager
def _as_recipe_error() -> Iterator[None]:
    try:
        yield
    except InitError as error:
        raise RecipeError(error.what, where=error.where, todo=error.todo) from None


def resolve_init(init: str, folder: Path, workspace: Workspace) -> str:
    """`init` independent of the working directory and of later runs: an absolute path, the id of a run.

    folder: start of a relative path. A run that does not exist stays as it is. Raises InitError where `init` is
    invalid.
    """
    if not init:
        return init
    match parse_init(init):
        case Path() as path:
            return os.path.abspath(folder / path)  # noqa: PTH100 it also resolves ".."
        case RunCheckpoint() as source:
            try:
                run = find_run_directory(workspace, source)
            except InitError:
                return init
            return f"run:{run.name}" + (f"@{source.step}" if source.step is not None else "")
        case _:
            return init


def implied_tables(init: str, workspace: Workspace) -> dict[str, Any]:
    """Tables of a recipe that follow from a located `init`: architecture, vocabulary, and fine-tuning for GPT-2.

    Empty for a repository of the hub without a short name: the hub is not contacted. Raises InitError.
    """
    source = parse_init(init)
    if isinstance(source, HubModel):
        for repository, *size in PUBLISHED.values():
            if repository == source.repository:
                return gpt2_tables(dict(zip(("n_layer", "n_head", "n_embd"), size, strict=True)))
        return {}
    if isinstance(source, RunCheckpoint):
        recipe = read_json(find_run_directory(workspace, source) / "run.json", _RunFile).recipe
        return {"model": _architecture(recipe.model), "tokenize": msgspec.structs.asdict(recipe.tokenize)}
    config = read_config(source)
    if config.published_gpt2 and not (source / "vocabulary.json").is_file():
        return gpt2_tables({name: getattr(config.model, name) for name in MODEL_FIELDS})
    return {"model": _architecture(config.model), "tokenize": _tokenize_table(source)}


def find_run_directory(workspace: Workspace, source: RunCheckpoint) -> Path:
    """The run of that id or name; of several with the name the newest with the checkpoint.

    Raises InitError with the nearest existing name.
    """
    try:
        runs = [workspace.runs / run_id for run_id in match_runs(source.name, run_ids(workspace))]
    except RunNotFoundError as error:
        raise InitError(error.what, where="model.init", todo=error.todo) from None

    def has_checkpoint(run: Path) -> bool:
        steps = [step_of(path) for path in checkpoint_paths(run / "checkpoints")]
        return bool(steps) if source.step is None else source.step in steps

    return next((run for run in runs if has_checkpoint(run)), runs[0])


class _RunFile(Struct):
    recipe: Recipe


def _architecture(model: Model) -> dict[str, Any]:
    """All fields but the requested depth and the origin of the weights."""
    return {name: value for name, value in msgspec.structs.asdict(model).items() if name not in ("depth", "init")}


class _Vocabulary(Struct):
    name: str
    ranks: list[str]
    special: dict[str, int]


def _tokenize_table(folder: Path) -> dict[str, Any]:
    """The [tokenize] section for a vocabulary of the same kind as the one next to the weights; empty without one."""
    if not (folder / "vocabulary.json").is_file():
        return {}
    vocabulary = read_json(folder / "vocabulary.json", _Vocabulary)
    names = get_args(get_args(get_type_hints(Tokenize, include_extras=True)["vocabulary"])[0])
    if vocabulary.name not in names:
        return {}
    size = {"size": len(vocabulary.ranks) + len(vocabulary.special)} if vocabulary.name == "bpe" else {}
    return {"vocabulary": vocabulary.name} | size
