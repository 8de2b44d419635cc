"""A model on disk: its shape in JSON, its weights in safetensors under GPT-2's names."""

from __future__ import annotations

from pathlib import Path

import msgspec
import torch
from msgspec import Struct
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from core.model.gpt import GPT
from core.recipe import Model
from core.trouble import Trouble

SCHEMA = 1


class BadWeights(Trouble):
    doing = "load the model"


class ModelFile(Struct, frozen=True, kw_only=True):
    """model.json: what the weights fit."""

    schema: int = SCHEMA
    shape: Model
    vocabulary: int
    """Entries, the end-of-text mark included."""


def save_model(model: GPT, directory: Path) -> None:
    """Write model.json and model.safetensors into `directory`. A tied head is not written twice."""
    file = ModelFile(shape=model.shape, vocabulary=model.vocabulary)
    (directory / "model.json").write_bytes(msgspec.json.format(msgspec.json.encode(file), indent=1))
    tensors = dict(model.state_dict())
    if model.shape.tied_head:
        del tensors["lm_head.weight"]
    save_file({name: tensor.contiguous().cpu() for name, tensor in tensors.items()}, directory / "model.safetensors")


def load_model(directory: Path, *, dtype: torch.dtype = torch.float32) -> GPT:
    """The model in `directory`, on the CPU, ready to evaluate. Raises BadWeights."""
    try:
        file = msgspec.json.decode((directory / "model.json").read_bytes(), type=ModelFile)
        if file.schema > SCHEMA:
            raise BadWeights("a newer version of llmtui wrote it", where=str(directory), todo="update llmtui")
        with torch.device("meta"):
            model = GPT(file.shape, file.vocabulary, dtype=dtype)
        load_weights(model, directory)
    except (OSError, msgspec.DecodeError) as error:
        raise BadWeights(str(error), where=str(directory)) from None
    return model.eval()


def load_weights(model: GPT, directory: Path) -> None:
    """Put the weights in `directory` into `model`, which may lie on the meta device. Raises BadWeights."""
    try:
        tensors = load_file(directory / "model.safetensors")
    except (OSError, SafetensorError) as error:
        raise BadWeights(f"model.safetensors cannot be read ({error})", where=str(directory)) from None
    if model.shape.tied_head:
        tensors["lm_head.weight"] = tensors.get("wte.weight", torch.empty(0))
    try:
        model.load_state_dict(tensors, assign=model.device.type == "meta")
    except RuntimeError as error:
        raise BadWeights(f"the weights do not fit the model: {error}", where=str(directory)) from None
    if model.shape.tied_head:
        model.lm_head.weight = model.wte.weight
