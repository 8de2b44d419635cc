"""Inference mode is restored, nested or not."""

from __future__ import annotations

import pytest
import torch

from core.model.gpt import GPT
from core.model.inference import inference
from core.recipe.schema import Model


@pytest.mark.parametrize("training", [True, False])
def test_nested_inference_restores_the_mode_at_the_outer_exit(training: bool) -> None:
    model = GPT(Model(n_layer=1, n_head=1, n_embd=8, block_size=4, dropout=0.5), 5).train(training)
    with inference(model):
        with inference(model):
            pass
        assert torch.is_inference_mode_enabled()
        assert not any(module.training for module in model.modules())
    assert not torch.is_inference_mode_enabled()
    assert all(module.training is training for module in model.modules())
