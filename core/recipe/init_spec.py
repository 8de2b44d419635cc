"""What `model.init` names: the weights a model begins with, and the shape they have. Light: recipes ask for it."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any, NamedTuple, get_args, get_type_hints

import msgspec
from msgspec import Struct

from core.checkpoints import checkpoint_paths, step_of
from core.errors import did_you_mean
from core.recipe.model_config import AS_GPT2, InitError, described, published_form, read_json
from core.recipe.schema import Model, Recipe, Tokenize
from core.storage.workspace import Workspace

SHAPE = (
    "n_layer", "n_head", "n_kv_head", "n_embd", "block_size", "positions", "norm", "activation", "qk_norm", "bias",
    "qkv_bias", "tied_head",
)  # fmt: skip
"""Fields of a model that decide which weights it has, or what they do."""

_REPOSITORIES = {
    "gpt2": ("openai-community/gpt2", 12, 12, 768),
    "gpt2-medium": ("openai-community/gpt2-medium", 24, 16, 1024),
    "gpt2-large": ("openai-community/gpt2-large", 36, 20, 1280),
    "gpt2-xl": ("openai-community/gpt2-xl", 48, 25, 1600),
    "distilgpt2": ("distilbert/distilgpt2", 6, 12, 768),
}
"""Repositories of the hub that have a short name: layers, heads, width."""

_HUB = re.compile(r"hf:(\w[\w.-]*(?:/\w[\w.-]*)?)(?:@(\w[\w./-]*))?\Z", re.ASCII)
_RUN = re.compile(r"run:([A-Za-z0-9][A-Za-z0-9._-]*)(?:@(\d{1,12}))?\Z")
_RUN_ID = re.compile(r"\d{8}-\d{6}-(.+)-[0-9a-f]{4}\Z")


class OfHub(NamedTuple):
    """hf:NAME@REVISION."""

    repository: str
    revision: str


class OfRun(NamedTuple):
    """run:NAME@STEP."""

    name: str
    step: int | None
    """None: the best checkpoint."""


def meant(init: str) -> OfHub | OfRun | Path:
    """What kind of thing a non-empty `init` names; a path may be relative. Raises InitError."""
    if init.startswith("run:"):
        found = _RUN.match(init)
        if found is None:
            raise _unclear(init, "write run:NAME for the best checkpoint of a run, or run:NAME@STEP; `llmtui ls` lists")
        return OfRun(found[1], int(found[2]) if found[2] else None)
    if not init.startswith("hf:"):
        try:
            return Path(init).expanduser()
        except RuntimeError as error:  # ~somebody who is not there
            raise _unclear(init, str(error)) from None
    found = _HUB.match(init)
    known = ", ".join(f"hf:{name}" for name in _REPOSITORIES)
    if found is None:
        raise _unclear(init, f"write hf:NAMESPACE/NAME or hf:NAMESPACE/NAME@REVISION, or one of {known}")
    name = found[1]
    if "/" not in name:
        if name not in _REPOSITORIES:
            hint = did_you_mean(name, _REPOSITORIES)
            raise _unclear(init, f"{hint + '; ' if hint else ''}known by a short name are {known}")
        name = _REPOSITORIES[name][0]
    return OfHub(name, found[2] or "main")


def resolve_init(init: str, folder: Path, workspace: Workspace) -> str:
    """`init` as a process needs it that works elsewhere and later: an absolute path, the id of a run.

    folder: where a relative path starts from. What cannot be found stays as it is.
    """
    if not init:
        return init
    match meant(init):
        case Path() as path:
            return os.path.abspath(folder / path)  # noqa: PTH100 it also resolves ".."
        case OfRun() as origin:
            try:
                path = run_directory(workspace, origin)
            except InitError:
                return init
            return f"run:{path.name}" + (f"@{origin.step}" if origin.step is not None else "")
        case _:
            return init


def implied(init: str, workspace: Workspace) -> dict[str, Any]:
    """Tables of a recipe that follow from a located `init`: shape, vocabulary, and a gentle training of what is good.

    Empty for a repository of the hub that is not known by name: nobody asks the hub here. Raises InitError.
    """
    origin = meant(init)
    if isinstance(origin, OfHub):
        for repository, *size in _REPOSITORIES.values():
            if repository == origin.repository:
                return published_form(dict(zip(("n_layer", "n_head", "n_embd"), size, strict=True)))
        return {}
    if isinstance(origin, OfRun):
        recipe = run_recipe(run_directory(workspace, origin))
        return {"model": _fields(recipe.model), "tokenize": msgspec.structs.asdict(recipe.tokenize)}
    weights = described(origin)
    if weights.published:
        return published_form({name: getattr(weights.shape, name) for name in SHAPE})
    return {"model": _fields(weights.shape), "tokenize": _tokenized(origin)}


def differences(recipe: Model, weights: Model) -> list[str]:
    """Where a recipe asks for another shape than `weights` have, a clause each; empty where they fit.

    What can be had from the weights fits: a shorter context, and a head of its own that begins as the tied one.
    """
    found = []
    for name in SHAPE:
        ours, theirs = _effective(recipe, name), _effective(weights, name)
        follows = getattr(recipe, name) is None and getattr(weights, name) is None  # another field, which is named
        fits = ours == theirs or follows
        if name == "block_size":
            fits = recipe.positions == "rotary" or ours <= theirs
        elif name == "tied_head":
            fits = theirs or not ours
        if not fits:
            found.append(f"model.{name}: the recipe says {_shown(ours)}, the weights have {_shown(theirs)}")
    return found


def ensure_fit(recipe: Model, weights: Model) -> None:
    """Raises InitError that names every field in which they differ, and how to set it."""
    found = differences(recipe, weights)
    if found:
        fields = [clause.partition(":")[0].removeprefix("model.") for clause in found]
        settings = " ".join(f"--set model.{name}={_shown(_effective(weights, name))}" for name in fields)
        raise InitError(
            "\n        ".join(["the weights have another shape than the recipe:", *found]),
            where=f"model.init = {recipe.init}",
            todo=f"{settings}; or leave these fields out, where init alone decides",
        )


def ensure_tokens(recipe: Recipe, needed: dict[str, Any]) -> None:
    """Raises InitError where the recipe asks for other tokens than those that `implied` says the weights know."""
    known = needed.get("tokenize", {}).get("vocabulary")
    asked = recipe.tokenize.vocabulary
    if known is not None and asked != known and not {asked, known} <= set(AS_GPT2):
        raise other_tokens(f"{asked} in the recipe, {known} there", f"--set tokenize.vocabulary={known}")


def other_tokens(what: str, todo: str) -> InitError:
    """The tokens are numbers of other things than those the weights were trained on."""
    return InitError(f"tokens from another vocabulary than the model's: {what}", where="model.init", todo=todo)


def run_directory(workspace: Workspace, origin: OfRun) -> Path:
    """The run with that id or name; of several the newest that has the checkpoint. Raises InitError with the nearest
    right name."""
    try:
        ids = sorted((entry.name for entry in os.scandir(workspace.runs) if entry.is_dir()), reverse=True)
    except OSError:
        ids = []
    names = {id_: found[1] for id_ in ids if (found := _RUN_ID.match(id_))}
    called = [workspace.runs / id_ for id_, name in names.items() if origin.name.lower() in (id_, name)]
    if not called:
        raise InitError(
            f"there is no run {origin.name!r}",
            where="model.init",
            todo=did_you_mean(origin.name, [*names.values(), *names]) or "`llmtui ls` lists them",
        )

    def has_checkpoint(run: Path) -> bool:
        steps = [step_of(path) for path in checkpoint_paths(run / "checkpoints")]
        return bool(steps) if origin.step is None else origin.step in steps

    return next((run for run in called if has_checkpoint(run)), called[0])


def run_recipe(run: Path) -> Recipe:
    """What the run in that directory was asked to build. Raises InitError."""
    return read_json(run / "run.json", _RunFile).recipe


class _RunFile(Struct):
    recipe: Recipe


def _fields(shape: Model) -> dict[str, Any]:
    """All that describes a model of ours, but not how big it was asked to be nor where it came from."""
    return {name: value for name, value in msgspec.structs.asdict(shape).items() if name not in ("depth", "init")}


class _Vocabulary(Struct):
    name: str
    ranks: list[str]
    special: dict[str, int]


def _tokenized(folder: Path) -> dict[str, Any]:
    """The tokenize table that makes a vocabulary of the same kind as the one beside the weights, if there is one."""
    if not (folder / "vocabulary.json").is_file():
        return {}
    vocabulary = read_json(folder / "vocabulary.json", _Vocabulary)
    names = get_args(get_args(get_type_hints(Tokenize, include_extras=True)["vocabulary"])[0])
    if vocabulary.name not in names:
        return {}
    size = {"size": len(vocabulary.ranks) + len(vocabulary.special)} if vocabulary.name == "bpe" else {}
    return {"vocabulary": vocabulary.name} | size


def _effective(shape: Model, name: str) -> Any:
    """A field as it works: what is left out follows another."""
    value = getattr(shape, name)
    if value is None:
        return {"n_kv_head": shape.n_head, "qkv_bias": shape.bias}[name]
    return value


def _shown(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _unclear(init: str, todo: str) -> InitError:
    return InitError(f"{init!r} names no weights", where="model.init", todo=todo)
