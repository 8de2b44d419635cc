"""A folder with a model, ours or a GPT-2 of `transformers`: its JSON and the names of its weight files. No torch."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TypeVar

from msgspec import Struct

from core import parsing
from core.init.gpt2 import GPT2Config, to_model
from core.init.spec import InitError
from core.recipe.schema import Model

T = TypeVar("T")

_MAX_BYTES = 16 * 2**20
"""Of a JSON file; a vocabulary.json of 200,000 entries has 4 MB."""
_FOLDER = "model.init takes hf:NAME, run:NAME, or a folder with a checkpoint of ours or a GPT-2 of `transformers`"
_PICKLE = "pytorch_model.bin"
_SINGLE_FILE = "model.safetensors"
INDEX = "model.safetensors.index.json"
"""Maps tensors to files where the weights are in several."""


class ModelConfig(Struct, frozen=True, kw_only=True):
    """What a folder's JSON says about the weights in it."""

    model: Model
    vocab_size: int
    """Rows of the embedding that stand for tokens."""
    gpt2: bool
    """In the format of `transformers`: some matrices transposed, names with a prefix."""


def read_config(folder: Path) -> ModelConfig:
    """The folder's model.json (ours) or config.json (a GPT-2 of `transformers`). Raises InitError."""
    names = _file_names(folder)
    if "model.json" in names:
        ours = read_json(folder / "model.json", _ModelFile)
        if ours.schema > 1:
            raise InitError("a newer version of llmtui wrote it", where=str(folder), todo="update llmtui")
        return ModelConfig(model=ours.shape, vocab_size=ours.vocabulary, gpt2=False)
    if "config.json" in names:
        config = read_json(folder / "config.json", GPT2Config)
        return ModelConfig(model=to_model(config, folder), vocab_size=config.vocab_size, gpt2=True)
    raise InitError("there is no model.json or config.json in it", where=str(folder), todo=_FOLDER)


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files of a folder, in the order of their names. Raises InitError where there are none."""
    names = _file_names(folder)
    if INDEX in names and _SINGLE_FILE not in names:
        parts = sorted(set(read_json(folder / INDEX, _Index).weight_map.values()))
        for name in parts:
            if name != Path(name).name or not name.endswith(".safetensors"):
                raise InitError(f"{INDEX} names a file outside of its folder ({name})", where=str(folder))
        return [folder / name for name in parts]
    if _SINGLE_FILE in names:
        return [folder / _SINGLE_FILE]
    raise no_weights(names, str(folder))


def no_weights(names: Iterable[str], where: str) -> InitError:
    """The error for files `names` without safetensors."""
    if any(name.startswith("pytorch_model") and name.endswith(".bin") for name in names):
        return InitError(
            f"its weights are only there as {_PICKLE}, a pickle: reading one can run any program that it contains",
            where=where,
            todo="where you trust it, let `transformers` write it anew: "
            "GPT2LMHeadModel.from_pretrained(OLD).save_pretrained(NEW) writes model.safetensors",
        )
    return InitError(f"there is no {_SINGLE_FILE} in it", where=where, todo="name a folder or repository that has one")


class _ModelFile(Struct):
    shape: Model
    vocabulary: int
    schema: int = 1


class _Index(Struct):
    weight_map: dict[str, str]


def _file_names(folder: Path) -> set[str]:
    try:
        return {path.name for path in folder.iterdir() if path.is_file()}
    except FileNotFoundError:
        what = "there is no such folder"
    except NotADirectoryError:
        what = "it is no folder"
    except OSError as error:
        what = (error.strerror or str(error)).lower()
    except ValueError as error:  # a path with a null byte
        what = str(error)
    raise InitError(what, where=str(folder)[:300], todo=_FOLDER)


def read_json(path: Path, kind: type[T]) -> T:
    """The JSON in `path`, an untrusted file. Raises InitError."""
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise InitError("it is too large to describe a model", where=str(path))
        return parsing.read_json(path, kind)
    except OSError as error:
        raise InitError((error.strerror or str(error)).lower(), where=str(path)) from None
    except parsing.ParseError as error:
        raise InitError(f"{path.name} cannot be read ({error})", where=str(path)) from None
