"""mlx-lm computes the logits of exported models."""

from __future__ import annotations

import importlib
from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch

from core.recipe.schema import Model
from tests.core.exporting import GPT2, MODERN, VOCABULARY, export, model_with_large_weights, save_checkpoint
from tests.core.generating import generate_ids, settings

pytestmark = pytest.mark.interop
GROUPED = msgspec.structs.replace(MODERN, n_kv_head=2, tie_embeddings=True, pad_vocabulary_multiple=64)
SWIGLU = msgspec.structs.replace(MODERN, activation="swiglu")


@pytest.mark.parametrize("config", [GPT2, MODERN, GROUPED, SWIGLU], ids=["gpt2", "apertus", "grouped", "qwen3"])
def test_logits_and_greedy_ids_are_ours(tmp_path: Path, config: Model) -> None:
    mx, mlx_lm = pytest.importorskip("mlx.core"), pytest.importorskip("mlx_lm")
    generate_step = importlib.import_module("mlx_lm.generate").generate_step  # the package has a function of that name
    model = model_with_large_weights(config)
    export(save_checkpoint(tmp_path, model), tmp_path / "out", "mlx")
    theirs, tokenizer = mlx_lm.load(str(tmp_path / "out"))
    ids = VOCABULARY.encode("Hi é")
    assert tokenizer.encode("Hi é") == ids
    with torch.inference_mode():
        logits = model(torch.tensor([ids])).numpy()
    assert np.abs(logits - np.array(theirs(mx.array([ids])))).max() < 1e-4
    steps = generate_step(mx.array(ids), theirs, max_tokens=8)  # greedy by default
    assert [int(token) for token, _ in steps] == generate_ids(model, ids, settings(tokens=8, temperature=0.0))
