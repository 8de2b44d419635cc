"""Tensors by their names into a model: GPT-2's as they were published, or ours."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from core.model.gpt import GPT
from core.model.weights import BadWeights

_PREFIX = "transformer."
_BUFFERS = re.compile(r"h\.\d+\.attn\.(masked_)?bias\Z")
"""The causal mask and its filling, which older files carry along."""
_TURNED = re.compile(r"h\.\d+\.(attn\.c_attn|attn\.c_proj|mlp\.c_fc|mlp\.c_proj)\.weight\Z")
"""Kept as (in, out) by GPT-2's Conv1D, as (out, in) here."""
_TOKENS = ("wte.weight", "lm_head.weight")
"""A row for each token."""


def read_tensors(files: Iterable[Path]) -> Iterator[tuple[str, Tensor]]:
    """Name and tensor of all that safetensors files have, one in memory at a time. Raises BadWeights."""
    for path in files:
        try:
            with safe_open(path, framework="pt") as file:
                for name in file.keys():  # noqa: SIM118 it is no dictionary
                    yield name, file.get_tensor(name)
        except (OSError, SafetensorError) as error:
            raise BadWeights(f"{path.name} cannot be read ({error})", where=str(path.parent)) from None


def from_gpt2(tensors: Iterable[tuple[str, Tensor]]) -> Iterator[tuple[str, Tensor]]:
    """Published tensors under the names and in the layout they have in our model."""
    for name, tensor in tensors:
        name = name.removeprefix(_PREFIX)
        if not _BUFFERS.match(name):
            yield name, tensor.T if _TURNED.match(name) and tensor.dim() == 2 else tensor


@torch.no_grad()
def fill(model: GPT, tensors: Iterable[tuple[str, Tensor]], *, tokens: int, where: str) -> None:
    """Put `tensors`, by our names, into `model`, whatever type of floating point they have.

    tokens: how many rows of the embedding stand for something; of these as many are taken as the model has use for,
    and its other rows stay as they are. Of learned positions those are taken that the model has. A head that is not
    there begins as the embedding. Raises BadWeights where one is missing, unknown, or has another size.
    """
    parameters = dict(model.named_parameters())
    used = min(tokens, model.vocabulary + (model.mask is not None))
    filled: set[str] = set()
    unknown: list[str] = []
    for name, tensor in tensors:
        if name == "lm_head.weight" and model.shape.tied_head:
            continue
        parameter = parameters.get(name)
        if parameter is None:
            unknown.append(name)
            continue
        rows = used if name in _TOKENS else len(parameter)
        longer = name in (*_TOKENS, "wpe.weight") and len(tensor) >= rows
        if tensor.shape[1:] != parameter.shape[1:] or (len(tensor) != rows and not longer):
            found, wanted = tuple(tensor.shape), (rows, *parameter.shape[1:])
            raise BadWeights(f"{name} has the shape {found} where {wanted} is needed", where=where)
        if not tensor.is_floating_point() or not tensor[:rows].isfinite().all():
            raise BadWeights(f"{name} does not hold finite numbers", where=where)
        parameter[:rows].copy_(tensor[:rows])
        filled.add(name)
    if "lm_head.weight" in parameters and "lm_head.weight" not in filled and "wte.weight" in filled:
        model.lm_head.weight[:used].copy_(model.wte.weight[:used])
        filled.add("lm_head.weight")
    missing = [name for name in parameters if name not in filled]
    if missing or unknown:
        clauses = [f"{word} {_some(names)}" for word, names in (("without", missing), ("with", unknown)) if names]
        raise BadWeights(f"the weights do not fit the model: they come {' and '.join(clauses)}", where=where)


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3:,} more" if len(names) > 3 else "")
