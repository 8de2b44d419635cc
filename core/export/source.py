"""A checkpoint that is being exported: its model, its vocabulary, its tensors."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import torch
from msgspec import Struct
from safetensors import SafetensorError, safe_open
from torch import Tensor

from core.export.architectures import Architecture, architecture_of
from core.export.mappings import TensorMapping, tensor_mappings
from core.export.request import ExportError, ExportRequest
from core.export.tensors import exported_tensor
from core.model.weights import ModelFile
from core.parsing import ParseError, read_json
from core.recipe.schema import Model
from core.storage.artifact import Artifact, DamagedError
from core.tokenize.vocabulary import Vocabulary


class ExportSource(Struct, frozen=True):
    """What the writer of a format needs. The file with the weights stays open: deleting the checkpoint does not end an
    export."""

    request: ExportRequest
    model: Model
    vocabulary: Vocabulary
    architecture: Architecture
    mappings: list[TensorMapping]
    """Every tensor of the exported model."""
    _weights: safe_open

    def tensor(self, mapping: TensorMapping, dtype: torch.dtype) -> Tensor:
        """The tensor of one of `mappings`. Raises ExportError where a number does not fit `dtype`, or the file cannot
        be read."""
        try:
            tensor = exported_tensor(mapping, self._weights.get_tensor, dtype)
        except (OSError, SafetensorError) as error:
            raise ExportError(f"{mapping.source} cannot be read ({error})", where=self.request.checkpoint) from None
        if not tensor.isfinite().all():
            raise ExportError(
                f"{mapping.source} has numbers that {str(dtype).removeprefix('torch.')} cannot hold",
                where=self.request.checkpoint,
                todo="--dtype float32 or bfloat16 has a wider range" if dtype == torch.float16 else "",
            )
        return tensor


@contextlib.contextmanager
def open_source(request: ExportRequest) -> Iterator[ExportSource]:
    """The checkpoint of `request`, whose files have the digests of its manifest.

    Raises NotExportableError; DamagedError, VocabularyError; ExportError where the checkpoint was deleted or replaced.
    """
    folder = Path(request.checkpoint)
    try:
        before = Artifact.open(folder, verify=True)
        file = read_json(folder / "model.json", ModelFile)
        architecture = architecture_of(file.config)
        vocabulary = Vocabulary.load(folder / "vocabulary.json")
        if vocabulary.size != file.vocab_size:
            raise ExportError(
                f"model.json says {file.vocab_size:,} entries, vocabulary.json has {vocabulary.size:,}",
                where=str(folder),
                todo="export another checkpoint of the run",
            )
        with safe_open(folder / "model.safetensors", framework="pt") as weights:
            if Artifact.open(folder).manifest != before.manifest:
                raise _gone(folder)
            mappings = tensor_mappings(file.config, file.vocab_size, architecture)
            yield ExportSource(request, file.config, vocabulary, architecture, mappings, weights)
    except DamagedError:
        if not folder.exists():
            raise _gone(folder) from None
        raise
    except (FileNotFoundError, ParseError, SafetensorError) as error:
        if not folder.exists():
            raise _gone(folder) from None
        raise ExportError(f"the checkpoint cannot be read ({error})", where=str(folder)) from None


def _gone(folder: Path) -> ExportError:
    return ExportError(
        "the checkpoint was deleted or replaced meanwhile",
        where=str(folder),
        todo="export a checkpoint that the run keeps: its newest or its best one",
    )
