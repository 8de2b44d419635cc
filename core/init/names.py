"""The tensors in the files of `transformers`, and those of ours that they make. No torch."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from core.export.architectures import Architecture
from core.export.mappings import TensorMapping
from core.init.safetensors_header import TensorInfo

_BUFFERS = re.compile(r".*\.(attn\.(masked_)?bias|rotary_emb\.inv_freq)\Z")
"""Causal masks and frequencies, which older files contain."""


def full_names(names: Iterable[str], architecture: Architecture) -> dict[str, str]:
    """Of the tensors called `names` in files, by the names in `core.export.mappings`; buffers left out.

    A model that was saved without its head lacks the prefix of all others.
    """
    prefix = "transformer." if architecture.name == "gpt2" else "model."
    bare = {name: name.removeprefix(prefix) for name in names if not _BUFFERS.match(name)}
    return {each if each.startswith("lm_head.") else prefix + each: name for name, each in bare.items()}


def pieces_by_source(mappings: Iterable[TensorMapping]) -> dict[str, list[TensorMapping]]:
    """The exported tensors that each of ours is made of, in the order of its rows."""
    found: dict[str, list[TensorMapping]] = {}
    for mapping in mappings:
        if mapping.source:
            found.setdefault(mapping.source, []).append(mapping)
    return found


def imported_headers(
    mappings: Iterable[TensorMapping], found: Mapping[str, TensorInfo], architecture: Architecture
) -> dict[str, TensorInfo]:
    """The tensors of ours that those `found` in files make. What makes none keeps its name; a tensor of ours that lacks
    a piece is left out."""
    mappings, names = list(mappings), full_names(found, architecture)
    used = {mapping.name for mapping in mappings}
    out = {name.removeprefix("transformer."): found[names[name]] for name in names if name not in used}
    for source, pieces in pieces_by_source(mappings).items():
        if all(piece.name in names for piece in pieces):
            out[source] = _joined([found[names[piece.name]] for piece in pieces], pieces)
    return out


def _joined(infos: list[TensorInfo], pieces: list[TensorMapping]) -> TensorInfo:
    """The tensor of ours that `pieces` make; the size of a piece that is not as it has to be, if there is one."""
    if len(infos) == 1:
        size = infos[0].size
        return infos[0]._replace(size=size[::-1] if pieces[0].transposed and len(size) == 2 else size)
    wrong = [info.size for info, piece in zip(infos, pieces, strict=True) if info.size != piece.size]
    rows = sum(piece.size[0] for piece in pieces)
    return TensorInfo(all(info.floating for info in infos), wrong[0] if wrong else (rows, *pieces[0].size[1:]))
