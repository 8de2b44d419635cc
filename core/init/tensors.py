"""Tensors from safetensors files into a model, ours or GPT-2's as they were published."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from core.init.check import TOKEN_ROWS, not_finite
from core.init.gpt2 import TRANSPOSED, from_gpt2_name
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


def convert_gpt2(tensors: Iterable[tuple[str, Tensor]]) -> Iterator[tuple[str, Tensor]]:
    """Tensors of a published GPT-2 with our names and layout, buffers left out."""
    for published, tensor in tensors:
        if name := from_gpt2_name(published):
            yield name, tensor.T if TRANSPOSED.match(name) and tensor.dim() == 2 else tensor


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
