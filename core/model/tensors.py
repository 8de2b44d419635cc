"""Tensors by their names into a model: GPT-2's as they were published, or ours."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from core.model.gpt import GPT
from core.model.init_check import TOKENS, TURNED, not_finite, our_name
from core.recipe.model_config import InitError


def read_tensors(files: Iterable[Path]) -> Iterator[tuple[str, Tensor]]:
    """Name and tensor of all that safetensors files have, one in memory at a time. Raises InitError."""
    for path in files:
        try:
            with safe_open(path, framework="pt") as file:
                for name in file.keys():  # noqa: SIM118 it is no dictionary
                    yield name, file.get_tensor(name)
        except (OSError, SafetensorError) as error:
            raise InitError(f"{path.name} cannot be read ({error})", where=str(path.parent)) from None


def from_gpt2(tensors: Iterable[tuple[str, Tensor]]) -> Iterator[tuple[str, Tensor]]:
    """Published tensors under the names and in the layout they have in our model."""
    for published, tensor in tensors:
        if name := our_name(published):
            yield name, tensor.T if TURNED.match(name) and tensor.dim() == 2 else tensor


def ensure_finite(tensors: Iterable[tuple[str, Tensor]], where: str) -> None:
    """Raises InitError that names the first of `tensors` with a number that is none."""
    for name, tensor in tensors:
        if not tensor.isfinite().all():
            raise not_finite(name, where)


@torch.no_grad()
def fill(model: GPT, tensors: Iterable[tuple[str, Tensor]], *, tokens: int, where: str) -> str:
    """Put `tensors`, by our names, into `model`, whatever type of floating point they have; what to say of its head.

    They have to be what `beginning.ensure_whole` lets pass. tokens: how many rows of the embedding stand for
    something; of these as many are taken as the model has use for, and its other rows stay as they are. Of learned
    positions those are taken that the model has. A head that is not there begins as the embedding; one that a tied
    model has no place for is left out. Both are said. Raises InitError where a number is none.
    """
    parameters = dict(model.named_parameters())
    used = min(tokens, model.vocab_size + (model.mask_token_id is not None))
    headless = "lm_head.weight" in parameters  # a tied one is the embedding's
    left_out: Tensor | None = None
    for name, tensor in tensors:
        if name == "lm_head.weight" and model.config.tied_head:
            left_out = tensor[:used].to(model.wte.weight.dtype)
            continue
        parameter = parameters[name]
        rows = used if name in TOKENS else len(parameter)
        ensure_finite([(name, tensor[:rows])], where)
        parameter[:rows].copy_(tensor[:rows])
        headless &= name != "lm_head.weight"
    if headless:
        model.lm_head.weight[:used].copy_(model.wte.weight[:used])
        return "the weights have no head of their own: it begins as a copy of the embedding"
    if left_out is not None and not torch.equal(left_out, model.wte.weight[:used]):
        return "the head in the weights differs from the embedding, to which the model ties it, and is left out"
    return ""
