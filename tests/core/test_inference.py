"""Using a model leaves it as it was, however often one use lies within another."""

from __future__ import annotations

import pytest
import torch

from core.model.gpt import GPT
from core.model.inference import inference
from core.recipe.schema import Model


@pytest.mark.parametrize("training", [True, False])
def test_a_use_within_a_use_ends_neither_too_early(training: bool) -> None:
    model = GPT(Model(n_layer=1, n_head=1, n_embd=8, block_size=4, dropout=0.5), 5).train(training)
    with inference(model):
        with inference(model):
            pass
        assert torch.is_inference_mode_enabled()
        assert not any(module.training for module in model.modules())
    assert not torch.is_inference_mode_enabled()
    assert all(module.training is training for module in model.modules())
