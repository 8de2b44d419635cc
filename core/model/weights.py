"""A model on disk: model.json with its configuration, model.safetensors with its weights under GPT-2's names."""

from __future__ import annotations

import contextlib
import errno
import os
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
import torch
from msgspec import Struct, field
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.overrides import TorchFunctionMode

from core.errors import LlmtuiError
from core.model.gpt import GPT
from core.parsing import ParseError, read_json
from core.recipe.schema import Model

SCHEMA = 1


class WeightsError(LlmtuiError):
    doing = "load the model"


class ModelFile(Struct, frozen=True, kw_only=True):
    """The contents of model.json."""

    schema: int = SCHEMA
    config: Model = field(name="shape")
    vocab_size: int = field(name="vocabulary")
    """Entries, the end-of-text token included."""


def model_json(model: GPT) -> bytes:
    """The contents of model.json for `model`."""
    file = ModelFile(config=model.config, vocab_size=model.vocab_size)
    return msgspec.json.format(msgspec.json.encode(file), indent=1)


def state_tensors(model: GPT) -> dict[str, Tensor]:
    """The tensors of model.safetensors, which share memory with `model`. A tied head is left out."""
    tensors = {name: tensor.detach() for name, tensor in model.state_dict().items()}
    if model.config.tie_embeddings:
        del tensors["lm_head.weight"]
    return tensors


def write_tensors(tensors: Mapping[str, Tensor], path: Path, metadata: dict[str, str] | None = None) -> None:
    """Write a safetensors file. Raises OSError with the errno of the system, EIO if unknown."""
    try:
        save_file({name: tensor.detach().contiguous().cpu() for name, tensor in tensors.items()}, path, metadata)
    except SafetensorError as error:  # such as a full disk; the tensors are always valid
        code = re.search(r"os error (\d+)", str(error))
        number = int(code[1]) if code else errno.EIO
        raise OSError(number, os.strerror(number) if code else str(error)) from None


def save_model(model: GPT, directory: Path) -> None:
    """Write model.json and model.safetensors into `directory`. Raises OSError."""
    (directory / "model.json").write_bytes(model_json(model))
    write_tensors(state_tensors(model), directory / "model.safetensors")


class _WithoutInit(TorchFunctionMode):
    """`nn.init` does nothing. On the meta device its functions import torch._dynamo, which takes as long as torch."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if getattr(func, "__module__", "") == "torch.nn.init":
            return kwargs["tensor"] if "tensor" in kwargs else args[0]
        return func(*args, **kwargs)


@contextlib.contextmanager
def meta_device() -> Iterator[None]:
    """Models that are made have neither storage nor initial values."""
    with torch.device("meta"), _WithoutInit():
        yield


def load_model(directory: Path, *, dtype: torch.dtype = torch.float32) -> GPT:
    """The model in `directory`, on the CPU in evaluation mode. Raises WeightsError."""
    try:
        file = read_json(directory / "model.json", ModelFile)
        if file.schema > SCHEMA:
            raise WeightsError("a newer version of llmtui wrote it", where=str(directory), todo="update llmtui")
        with meta_device():
            model = GPT(file.config, file.vocab_size, dtype=dtype)
        load_weights(model, directory)
    except (OSError, ParseError) as error:
        raise WeightsError(str(error), where=str(directory)) from None
    return model.eval()


def load_weights(model: GPT, directory: Path) -> None:
    """Load the weights in `directory` into `model`, which may be on the meta device. Raises WeightsError."""
    try:
        tensors = load_file(directory / "model.safetensors")
    except (OSError, SafetensorError) as error:
        raise WeightsError(f"model.safetensors cannot be read ({error})", where=str(directory)) from None
    if model.config.tie_embeddings:
        tensors["lm_head.weight"] = tensors.get("wte.weight", torch.empty(0))
    try:
        model.load_state_dict(tensors, assign=model.device.type == "meta")
    except RuntimeError as error:
        raise WeightsError(f"the weights do not fit the model: {error}", where=str(directory)) from None
    if model.config.tie_embeddings:
        model.lm_head.weight = model.wte.weight
