"""A folder that mlx-lm loads: that of `transformers`, with what mlx-lm's classes have otherwise."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from core.events import Event
from core.export.hf import write_hf
from core.export.mappings import TensorMapping
from core.export.request import ExportError
from core.export.xielu import XIELU, scaled_for_xielu

if TYPE_CHECKING:
    from core.export.source import ExportSource


def write_mlx(source: ExportSource, folder: Path) -> Iterator[Event]:
    """Write the files into `folder`; yields Progress in bytes. Raises ExportError, OSError."""
    mappings = source.mappings
    config: dict[str, object] = {}
    if source.architecture.name == "gpt2":
        if not source.model.tie_embeddings:
            raise ExportError(
                "mlx-lm's GPT-2 has no head besides its embedding",
                where="model.tie_embeddings = false",
                todo="--format hf or gguf; or train with --set model.tie_embeddings=true",
            )
        mappings = [each._replace(name=each.name.removeprefix("transformer.")) for each in mappings]
        config = {"n_ctx": source.model.block_size}
    elif source.architecture.name == "apertus":  # mlx-lm computes xIELU whatever the config says
        mappings = [*scaled_for_xielu(mappings), *_activations(source.model.n_layer)]
        config = {"hidden_act": "xielu"}
    yield from write_hf(msgspec.structs.replace(source, mappings=mappings), folder, config)


def _activations(layers: int) -> Iterator[TensorMapping]:
    """The constants of the activation, which mlx-lm loads as tensors."""
    for layer in range(layers):
        for name, value in XIELU.items():
            size = (1,) if name.startswith("alpha") else ()  # as in Apertus
            yield TensorMapping(f"model.layers.{layer}.mlp.act_fn.{name}", size, constant=value)
