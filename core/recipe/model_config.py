"""A folder with a model in it: ours, or a GPT-2 as `transformers` writes it. Its JSON is read, its weights are not."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from msgspec import Struct

from core import parsing
from core.errors import UsageError
from core.recipe.schema import Model

T = TypeVar("T")

MORE_ROWS = 128
"""Rows an embedding of GPT-2's may have beyond its 50,257 tokens: a pad token, a few marks, a multiple of 128."""
GPT2 = "gpt2"
"""The vocabulary of every published GPT-2."""
AS_GPT2 = (GPT2, "r50k_base")
"""Vocabularies with its ids."""

# a step that teaches random weights spoils good ones; these are nanoGPT's, config/finetune_shakespeare.py
_GENTLE = {"optimizer": "adamw", "lr": 3e-5, "schedule": "constant", "weight_decay": 0.1}

_LARGEST = 16 * 2**20
"""Bytes of a file that describes a model; a vocabulary.json of 200,000 entries has 4 MB."""
_FOLDER = "model.init takes hf:NAME, run:NAME, or a folder with a checkpoint of ours or a GPT-2 of `transformers`"
_PICKLE = "pytorch_model.bin"
_WHOLE = "model.safetensors"
INDEX = "model.safetensors.index.json"
"""Says which of several files has which tensor."""


class InitError(UsageError):
    """`model.init` names nothing a model can begin with, or something that does not fit the recipe."""

    doing = "begin with these weights"


class Weights(Struct, frozen=True, kw_only=True):
    """What a folder says about the weights in it."""

    shape: Model
    vocabulary: int
    """Rows of the embedding that stand for tokens."""
    published: bool
    """Laid out as `transformers` lays out GPT-2: some matrices transposed, names with a prefix."""


def described(folder: Path) -> Weights:
    """What the folder's model.json (ours) or config.json (of GPT-2, as `transformers` writes it) says.

    Raises InitError.
    """
    there = _names(folder)
    if "model.json" in there:
        ours = read_json(folder / "model.json", _Ours)
        if ours.schema > 1:
            raise InitError("a newer version of llmtui wrote it", where=str(folder), todo="update llmtui")
        return Weights(shape=ours.shape, vocabulary=ours.vocabulary, published=False)
    if "config.json" in there:
        return _of_config(read_json(folder / "config.json", _Config), folder)
    raise InitError("there is no model.json or config.json in it", where=str(folder), todo=_FOLDER)


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files of a folder, in the order of their names. Raises InitError where there are none."""
    there = _names(folder)
    if INDEX in there and _WHOLE not in there:
        names = sorted(set(read_json(folder / INDEX, _Index).weight_map.values()))
        for name in names:
            if name != Path(name).name or not name.endswith(".safetensors"):
                raise InitError(f"{INDEX} names a file outside of its folder ({name})", where=str(folder))
        return [folder / name for name in names]
    if _WHOLE in there:
        return [folder / _WHOLE]
    raise no_weights(there, str(folder))


def no_weights(names: Iterable[str], where: str) -> InitError:
    """There are no safetensors among the files `names`."""
    if any(name.startswith("pytorch_model") and name.endswith(".bin") for name in names):
        return InitError(
            f"its weights are only there as {_PICKLE}, a pickle: reading one can run any program that it contains",
            where=where,
            todo="where you trust it, let `transformers` write it anew: "
            "GPT2LMHeadModel.from_pretrained(OLD).save_pretrained(NEW) writes model.safetensors",
        )
    return InitError(f"there is no {_WHOLE} in it", where=where, todo="name a folder or repository that has one")


class _Ours(Struct):
    shape: Model
    vocabulary: int
    schema: int = 1


class _Index(Struct):
    weight_map: dict[str, str]


class _Config(Struct):
    """config.json of `transformers`, with its defaults for GPT-2; names as there."""

    model_type: str = ""
    vocab_size: int = 50257
    n_positions: int = 1024
    n_embd: int = 768
    n_layer: int = 12
    n_head: int = 12
    n_inner: int | None = None
    activation_function: str = "gelu_new"
    layer_norm_epsilon: float = 1e-5
    scale_attn_weights: bool = True
    scale_attn_by_inverse_layer_idx: bool = False
    add_cross_attention: bool = False
    tie_word_embeddings: bool = True


def _of_config(config: _Config, folder: Path) -> Weights:
    if config.model_type != "gpt2":
        raise InitError(
            f"config.json says model_type {config.model_type!r}; only 'gpt2' can be begun with",
            where=str(folder),
            todo="name a model of the GPT-2 family, such as hf:gpt2",
        )
    other = [
        (config.activation_function not in ("gelu_new", "gelu_pytorch_tanh"), "activation_function"),
        (config.layer_norm_epsilon != 1e-5, "layer_norm_epsilon"),
        (config.n_inner not in (None, 4 * config.n_embd), "n_inner"),
        (not config.scale_attn_weights, "scale_attn_weights"),
        (config.scale_attn_by_inverse_layer_idx, "scale_attn_by_inverse_layer_idx"),
        (config.add_cross_attention, "add_cross_attention"),
    ]
    for differs, name in other:
        if differs:
            raise InitError(
                f"it computes otherwise than GPT-2: {name} is {getattr(config, name)} in its config.json",
                where=str(folder),
                todo="name a model that keeps GPT-2's arithmetic, such as hf:gpt2",
            )
    shape = {name: getattr(config, name) for name in ("n_layer", "n_head", "n_embd")}
    model = published_form(shape | {"block_size": config.n_positions, "tied_head": config.tie_word_embeddings})["model"]
    try:
        return Weights(shape=msgspec.convert(model, Model), vocabulary=config.vocab_size, published=True)
    except msgspec.ValidationError as error:
        raise InitError(f"config.json describes no model ({error})", where=str(folder)) from None


def published_form(shape: dict[str, Any]) -> dict[str, Any]:
    """Tables for GPT-2's form in the size that `shape` says."""
    form = {
        "block_size": 1024,
        "positions": "learned",
        "norm": "layer",
        "activation": "gelu",
        "qk_norm": False,
        "zero_init": False,
        "bias": True,
        "tied_head": True,
    }
    return {"model": form | shape, "tokenize": {"vocabulary": GPT2}, "train": dict(_GENTLE)}


def _names(folder: Path) -> set[str]:
    """Of the files in it."""
    try:
        return {path.name for path in folder.iterdir() if path.is_file()}
    except FileNotFoundError:
        what = "there is no such folder"
    except NotADirectoryError:
        what = "it is no folder"
    except OSError as error:
        what = (error.strerror or str(error)).lower()
    except ValueError as error:  # a path that no system has
        what = str(error)
    raise InitError(what, where=str(folder)[:300], todo=_FOLDER)


def read_json(path: Path, kind: type[T]) -> T:
    """The JSON in `path`, which nobody vouches for. Raises InitError."""
    try:
        if path.stat().st_size > _LARGEST:
            raise InitError("it is too large to describe a model", where=str(path))
        return parsing.read_json(path, kind)
    except OSError as error:
        raise InitError((error.strerror or str(error)).lower(), where=str(path)) from None
    except parsing.ParseError as error:
        raise InitError(f"{path.name} cannot be read ({error})", where=str(path)) from None
