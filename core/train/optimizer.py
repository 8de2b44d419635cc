"""The optimisers: AdamW for everything, or Muon for the blocks' matrices and AdamW for the rest."""

from __future__ import annotations

import torch
from torch.optim import AdamW, Muon, Optimizer

from core.model.gpt import GPT
from core.recipe import Train


def optimizers(model: GPT, recipe: Train) -> list[Optimizer]:
    """The optimisers that together move every parameter of `model` once.

    Norms and biases are one-dimensional and do not decay. Each group carries its `peak` learning rate, of which the
    schedule takes a share.
    """
    muon: list[torch.nn.Parameter] = []
    decay: list[torch.nn.Parameter] = []
    rest: list[torch.nn.Parameter] = []
    for name, parameter in model.named_parameters():
        if parameter.dim() < 2:
            rest.append(parameter)
        elif recipe.optimizer == "muon" and name.startswith("h."):
            muon.append(parameter)
        else:
            decay.append(parameter)
    groups = [{"params": decay, "weight_decay": recipe.weight_decay}, {"params": rest, "weight_decay": 0.0}]
    # fused exists on the CPU too, 2 to 5 % of a step (shape 6/6/384)
    made: list[Optimizer] = [AdamW(groups, lr=recipe.lr, betas=(recipe.beta1, recipe.beta2), fused=True)]
    if muon:
        made.append(Muon(muon, lr=recipe.muon_lr, weight_decay=recipe.weight_decay, ns_steps=recipe.muon_iterations))
    for optimizer in made:
        for group in optimizer.param_groups:
            group["peak"] = group["lr"]
    return made
