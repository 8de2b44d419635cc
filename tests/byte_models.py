"""Untrained models for tests: as files, as checkpoints, and runs that have some."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import torch

from core.checkpoints import checkpoint_name
from core.model.gpt import GPT
from core.model.weights import save_model
from core.recipe.schema import Chat, Model, Recipe, Sample
from core.runs.directory import Run
from core.storage.artifact import write_directory
from core.storage.workspace import Workspace
from core.tokenize.characters import byte_vocabulary
from core.tokenize.vocabulary import Vocabulary

LETTERS = dict.fromkeys(b"abcdefghij", 100.0)
TEMPLATES = Chat(user="User: {text}\nBot:", assistant=" {text}\n")


def run_with_checkpoints(
    workspace: Workspace, *steps: int, name: str = "tiny", chat: Chat | None = None, context: int = 64, **model: Any
) -> Run:
    """A run with a checkpoint of each of these steps, whose models generate letters."""
    config = Model(n_layer=1, n_head=2, n_embd=16, block_size=context, zero_init=False, **model)
    recipe = Recipe(name=name, model=config, chat=chat or Chat())
    recipe = msgspec.structs.replace(recipe, sample=Sample(tokens=12, logit_bias=LETTERS))
    run = Run.create(workspace, recipe)
    for step in steps:
        save(run, step)
    return run


def save(run: Run, step: int) -> Path:
    """A checkpoint of its own weights, which follow from the step."""
    return save_checkpoint(run.checkpoints, step, run.recipe.model, seed=step)


def save_checkpoint(
    directory: Path, step: int, config: Model, vocabulary: Vocabulary | None = None, *, seed: int = 1, **facts: float
) -> Path:
    """An untrained model as training saves it, with its manifest."""
    return write_directory(
        directory / checkpoint_name(step),
        "train",
        "f",
        lambda staged: save_untrained(staged, config, vocabulary, seed=seed),
        facts={"step": step, **facts},
    ).path


def save_untrained(folder: Path, config: Model, vocabulary: Vocabulary | None = None, *, seed: int = 1) -> None:
    """Weights and vocabulary of an untrained model. vocabulary: 256 bytes and an end-of-text mark if not given."""
    vocabulary = vocabulary or byte_vocabulary()
    torch.manual_seed(seed)
    save_model(GPT(config, vocabulary.size), folder)
    vocabulary.save(folder / "vocabulary.json")
