"""A folder that `transformers` loads: safetensors, config.json, tokenizer, model card."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
import torch
from huggingface_hub import split_torch_state_dict_into_shards

from core.events import Event
from core.export.chat_template import chat_template
from core.export.config import config_json, generation_config_json
from core.export.source import ExportSource
from core.export.tokenizer_json import tokenizer_files
from core.model.weights import write_tensors
from core.processes.progress import ProgressMeter

MAX_SHARD_BYTES = 4 * 2**30
"""Of a file with weights, and of the main memory that writing one takes."""


def write_hf(source: ExportSource, folder: Path, config: Mapping[str, Any] | None = None) -> Iterator[Event]:
    """Write the files into `folder`; yields Progress in bytes. config: fields of config.json that differ.

    Raises ExportError, TokenizerExportError, OSError.
    """
    dtype: torch.dtype = getattr(torch, source.request.dtype)
    by_name = {mapping.name: mapping for mapping in source.mappings}
    empty = {name: torch.empty(each.size, dtype=dtype, device="meta") for name, each in by_name.items()}
    split = split_torch_state_dict_into_shards(empty, max_shard_size=MAX_SHARD_BYTES)
    meter = ProgressMeter(float(sum(tensor.nbytes for tensor in empty.values())))
    for file, names in split.filename_to_tensors.items():
        shard = {}
        for name in names:
            shard[name] = source.tensor(by_name[name], dtype)
            yield from meter.advance(shard[name].nbytes)
        write_tensors(shard, folder / file, metadata={"format": "pt"})
        yield meter.report()
    model, vocabulary = source.model, source.vocabulary
    end = vocabulary.end_of_text
    contents = {
        "config.json": config_json(
            model, vocabulary.size, source.architecture, end_of_text=end, dtype=source.request.dtype
        )
        | dict(config or {}),
        "generation_config.json": generation_config_json(end),
    }
    if split.is_sharded:
        index = {"metadata": split.metadata, "weight_map": split.tensor_to_filename}
        contents["model.safetensors.index.json"] = index
    for file, content in contents.items():
        (folder / file).write_bytes(msgspec.json.format(msgspec.json.encode(content), indent=2) + b"\n")
    for file, encoded in tokenizer_files(vocabulary, model.block_size).items():
        (folder / file).write_bytes(encoded)
    (folder / "chat_template.jinja").write_text(chat_template(source.request.chat), encoding="utf-8")
    (folder / "README.md").write_text(source.request.card, encoding="utf-8")
    # ours, with which `model.init` knows that tokens mean the same
    vocabulary.save(folder / "vocabulary.json")
