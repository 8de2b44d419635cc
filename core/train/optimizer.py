"""AdamW with weight decay on matrices and embeddings only."""

from __future__ import annotations

import torch

from core.model.gpt import GPT
from core.recipe import Train


def adamw(model: GPT, recipe: Train) -> torch.optim.AdamW:
    """The optimiser of `model`. Norms and biases are one-dimensional and do not decay."""
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in parameters if p.dim() >= 2], "weight_decay": recipe.weight_decay},
        {"params": [p for p in parameters if p.dim() < 2], "weight_decay": 0.0},
    ]
    # fused exists on the CPU too, 2 to 5 % of a step (shape 6/6/384); mps has it since 2.4
    return torch.optim.AdamW(groups, lr=recipe.lr, betas=(recipe.beta1, recipe.beta2), fused=True)
