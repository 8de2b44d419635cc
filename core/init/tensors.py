"""Tensors from safetensors files into a model, ours or those of `transformers`."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from core.init.check import TOKEN_ROWS, not_finite
from core.init.config import ModelConfig
from core.init.names import full_names, pieces_by_source
from core.init.spec import InitError
from core.model.gpt import GPT


def read_tensors(files: Iterable[Path]) -> Iterator[tuple[str, Tensor]]:
    """Name and tensor of everything in safetensors files, one in memory at a time. Raises InitError."""
    for path in files:
        try:
            with safe_open(path, framework="pt") as file:
                for name in file.keys():  # noqa: SIM118 it is no dictionary
                    yield name, file.get_tensor(name)
        except (OSError, SafetensorError) as error:
            raise InitError(f"{path.name} cannot be read ({error})", where=str(path.parent)) from None


def read_transformers(config: ModelConfig, files: Iterable[Path], where: str) -> Iterator[tuple[str, Tensor]]:
    """The tensors in the safetensors files of a folder of `transformers`, as `from_transformers`. Raises InitError."""
    with contextlib.ExitStack() as stack:
        try:
            opened = [stack.enter_context(safe_open(path, framework="pt")) for path in files]
            file_of = {name: file for file in opened for name in file.keys()}  # noqa: SIM118 it is no dictionary
            yield from from_transformers(config, file_of, lambda name: file_of[name].get_tensor(name), where)
        except (OSError, SafetensorError) as error:
            raise InitError(f"its weights cannot be read ({error})", where=where) from None


def from_transformers(
    config: ModelConfig, names: Iterable[str], read: Callable[[str], Tensor], where: str
) -> Iterator[tuple[str, Tensor]]:
    """Name and tensor of ours, one in memory at a time, made of the tensors called `names`, which `read` returns.

    A head that `config` has tied comes under its own name. Raises InitError where a tensor that our model does not have
    is not what it computes: norms of queries and keys other than 1, biases other than 0.
    """
    assert config.architecture is not None
    found, mappings = full_names(names, config.architecture), config.mappings
    for constant in (mapping for mapping in mappings if not mapping.source and mapping.name in found):
        tensor = read(found[constant.name])
        if not (tensor == constant.constant).all():
            raise InitError(
                f"{constant.name} is not {constant.constant:g} throughout, and our model has no weights there",
                where=where,
                todo="name weights without them, such as those that `llmtui export` writes",
            )
    for source, pieces in pieces_by_source(mappings).items():
        tensors = [read(found[piece.name]) for piece in pieces]
        yield source, torch.cat(tensors) if len(tensors) > 1 else tensors[0].T if pieces[0].transposed else tensors[0]
    head = TOKEN_ROWS[1]
    if config.model.tie_embeddings and head in found:
        yield head, read(found[head])


def check_finite(tensors: Iterable[tuple[str, Tensor]], where: str) -> None:
    """Raises InitError with the name of the first of `tensors` that has NaN or infinity."""
    for name, tensor in tensors:
        if not tensor.isfinite().all():
            raise not_finite(name, where)


@torch.no_grad()
def copy_into(model: GPT, tensors: Iterable[tuple[str, Tensor]], *, tokens: int, where: str) -> str:
    """Copy `tensors`, with our names and of any floating-point type, into `model`; returns a warning about its head.

    They must have passed `check.check_tensors`. tokens: rows of their embedding that stand for tokens. As many rows are
    copied as the model uses, the rest of its rows stay; of learned positions those of the model. A missing head starts
    as the embedding, and a head is left out for a tied model: the warning says so, otherwise it is empty.
    Raises InitError at NaN or infinity.
    """
    parameters = dict(model.named_parameters())
    used = min(tokens, model.vocab_size + (model.mask_token_id is not None))
    head_missing = "lm_head.weight" in parameters  # a tied head is no parameter of its own
    left_out: Tensor | None = None
    for name, tensor in tensors:
        if name == "lm_head.weight" and model.config.tie_embeddings:
            left_out = tensor[:used].to(model.wte.weight.dtype)
            continue
        parameter = parameters[name]
        rows = used if name in TOKEN_ROWS else len(parameter)
        check_finite([(name, tensor[:rows])], where)
        parameter[:rows].copy_(tensor[:rows])
        head_missing &= name != "lm_head.weight"
    if head_missing:
        model.lm_head.weight[:used].copy_(model.wte.weight[:used])
        return "the weights have no untied head: it starts as a copy of the embedding"
    if left_out is not None and not torch.equal(left_out, model.wte.weight[:used]):
        return "the head in the weights differs from the embedding, to which the model ties it, and is left out"
    return ""
