"""Runs with checkpoints of small untrained byte-level models that generate letters."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import torch

from core.model.gpt import GPT
from core.model.weights import save_model
from core.recipe.schema import Chat, Model, Recipe, Sample
from core.runs.directory import Run
from core.storage.artifact import write_directory
from core.storage.workspace import Workspace
from core.tokenize.bpe import train_bpe

LETTERS = dict.fromkeys(b"abcdefghij", 100.0)
TEMPLATES = Chat(user="User: {text}\nBot:", assistant=" {text}\n")


def run_with_checkpoints(
    workspace: Workspace, *steps: int, name: str = "tiny", chat: Chat | None = None, context: int = 64, **model: Any
) -> Run:
    """A run with a checkpoint of each of these steps."""
    shape = Model(n_layer=1, n_head=2, n_embd=16, block_size=context, zero_init=False, **model)
    recipe = Recipe(name=name, model=shape, chat=chat or Chat())
    recipe = msgspec.structs.replace(recipe, sample=Sample(tokens=12, logit_bias=LETTERS))
    run = Run.create(workspace, recipe)
    for step in steps:
        save(run, step)
    return run


def save(run: Run, step: int) -> Path:
    """A checkpoint of its own weights, which follow from the step."""

    def write(path: Path) -> None:
        torch.manual_seed(step)
        save_model(GPT(run.recipe.model, 257), path)
        train_bpe(iter(["a"]), 257).save(path / "vocabulary.json")

    return write_directory(run.checkpoints / f"step-{step:08d}", "train", "f", write, facts={"step": step}).path
