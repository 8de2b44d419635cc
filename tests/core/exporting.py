"""Checkpoints of small models, and their exports in this process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from core.events import Event
from core.export.job import export_model
from core.export.request import FORMATS, ExportRequest
from core.model.gpt import GPT
from core.model.weights import save_model
from core.recipe.schema import Chat, Model
from core.storage.artifact import write_directory
from core.tokenize.characters import byte_vocabulary
from core.tokenize.vocabulary import Vocabulary

VOCABULARY = byte_vocabulary()
MODERN = Model(n_layer=2, n_head=4, n_embd=32, block_size=16, zero_init=False)
GPT2 = Model(
    n_layer=2, n_head=4, n_embd=32, block_size=16, positions="learned", norm="layer", activation="gelu", qk_norm=False,
    bias=True, tie_embeddings=True,
)  # fmt: skip


def model_with_large_weights(config: Model, vocabulary: Vocabulary = VOCABULARY) -> GPT:
    """A model whose every parameter, norms and biases included, affects the logits."""
    torch.manual_seed(1)
    model = GPT(config, vocabulary.size).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.normal_(mean=1.0 if "ln_" in name and name.endswith("weight") else 0.0, std=0.3)
    return model


def save_checkpoint(folder: Path, model: GPT, vocabulary: Vocabulary = VOCABULARY) -> Path:
    """`model` as a checkpoint."""

    def write(staged: Path) -> None:
        save_model(model, staged)
        vocabulary.save(staged / "vocabulary.json")

    return write_directory(folder / "step-00000007", "train", "f", write, facts={"step": 7}).path


def request(checkpoint: Path, to: Path, format_name: str = "hf", **other: Any) -> ExportRequest:
    """The request to export `checkpoint` to `to`, in the format's first number format."""
    fields = {"dtype": FORMATS[format_name].dtypes[0], "name": "tiny-7", "chat": Chat(), **other}
    return ExportRequest(checkpoint=str(checkpoint), to=str(to), format=format_name, **fields)


def export(checkpoint: Path, to: Path, format_name: str = "hf", **other: Any) -> list[Event]:
    """Export `checkpoint`; returns the events."""
    return list(export_model(request(checkpoint, to, format_name, **other)))
