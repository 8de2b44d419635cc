"""A folder with a model, ours or one of `transformers`: its JSON and the names of its weight files. No torch."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TypeVar

from msgspec import Struct

from core import parsing
from core.export.architectures import ARCHITECTURES, Architecture
from core.export.mappings import TensorMapping, tensor_mappings
from core.init.gpt2 import GPT2Config, to_model
from core.init.rotary import RotaryConfig, rotary_to_model
from core.init.spec import InitError
from core.recipe.schema import Model

T = TypeVar("T")

_MAX_BYTES = 16 * 2**20
"""Of a JSON file; a vocabulary.json of 200,000 entries has 4 MB."""
_FOLDER = (
    "model.init takes hf:NAME, run:NAME, or a folder with a checkpoint of ours or a GPT-2, an Apertus or a Qwen3 of "
    "`transformers`"
)
_PICKLE = "pytorch_model.bin"
_SINGLE_FILE = "model.safetensors"
INDEX = "model.safetensors.index.json"
"""Maps tensors to files where the weights are in several."""


class ModelConfig(Struct, frozen=True, kw_only=True):
    """What a folder's JSON says about the weights in it."""

    model: Model
    vocab_size: int
    """Rows of the embedding that stand for tokens."""
    architecture: Architecture | None
    """In the format of `transformers`; None: in ours."""

    @property
    def published_gpt2(self) -> bool:
        """Whether its tokens are those of the published GPT-2 where nothing says otherwise."""
        return self.architecture is not None and self.architecture.name == "gpt2"

    @property
    def mappings(self) -> list[TensorMapping]:
        """The tensors of a folder of `transformers`."""
        assert self.architecture is not None
        return tensor_mappings(self.model, self.vocab_size, self.architecture)

    @property
    def zeros(self) -> set[str]:
        """Tensors of ours that its architecture does not have, and that start as zeros: the biases of its MLPs."""
        if self.architecture is None or self.architecture.name == "gpt2" or not self.model.bias:
            return set()
        return {f"h.{layer}.mlp.{name}.bias" for layer in range(self.model.n_layer) for name in ("c_fc", "c_proj")}


def read_config(folder: Path) -> ModelConfig:
    """The folder's model.json (ours) or config.json (a GPT-2 of `transformers`). Raises InitError."""
    names = _file_names(folder)
    if "model.json" in names:
        ours = read_json(folder / "model.json", _ModelFile)
        if ours.schema > 1:
            raise InitError("a newer version of llmtui wrote it", where=str(folder), todo="update llmtui")
        return ModelConfig(model=ours.shape, vocab_size=ours.vocabulary, architecture=None)
    if "config.json" in names:
        return _transformers_config(folder)
    raise InitError("there is no model.json or config.json in it", where=str(folder), todo=_FOLDER)


def _transformers_config(folder: Path) -> ModelConfig:
    file = folder / "config.json"
    kind = read_json(file, _ModelType).model_type
    architecture = next((each for each in ARCHITECTURES if each.name == kind), None)
    if architecture is None:
        names = [repr(each.name) for each in sorted(ARCHITECTURES, reverse=True)]
        raise InitError(
            f"config.json says model_type {kind!r}; only {', '.join(names)} can be used",
            where=str(folder),
            todo="name a model of the GPT-2 family, such as hf:gpt2, or a folder that `llmtui export` wrote",
        )
    config: GPT2Config | RotaryConfig
    if architecture.name == "gpt2":
        config = read_json(file, GPT2Config)
        model = to_model(config, folder)
    else:
        config = read_json(file, RotaryConfig)
        model = rotary_to_model(config, folder)
    return ModelConfig(model=model, vocab_size=config.vocab_size, architecture=architecture)


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


class _ModelType(Struct):
    model_type: str = ""


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
