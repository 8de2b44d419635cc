"""The search space of a study that is given none: what usually matters most, around the values of the recipe."""

from __future__ import annotations

from typing import Any

from core.recipe.schema import Recipe

FACTOR = 5.0
"""Learning rates from a fifth of the recipe's to five times it."""


def default_space(recipe: Recipe) -> dict[str, Any]:
    """The table [space]: learning rates, batch size, warm-up, weight decay, dropout, and the depth of the model."""
    train, model = recipe.train, recipe.model
    space: dict[str, Any] = {"train.lr": _around(train.lr)}
    if train.optimizer == "muon":
        space["train.muon_lr"] = _around(train.muon_lr)
    space |= {
        "train.batch_size": sorted({max(1, train.batch_size // 2), train.batch_size, train.batch_size * 2}),
        "train.warmup": {"low": 0.0, "high": 0.2, "step": 0.05},
        "train.weight_decay": sorted({0.0, 0.01, 0.1, train.weight_decay}),
        "model.dropout": sorted({0.0, 0.1, 0.2, model.dropout}),
    }
    if not model.init:  # weights that exist have a depth
        space["model.n_layer"] = sorted({max(1, model.n_layer // 2), model.n_layer, model.n_layer * 3 // 2 or 1})
    return space


def _around(rate: float) -> dict[str, Any]:
    return {"low": float(f"{rate / FACTOR:.3g}"), "high": min(1.0, float(f"{rate * FACTOR:.3g}")), "log": True}
