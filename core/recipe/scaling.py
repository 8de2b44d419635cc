"""The size of a model in one number: width, heads, batch size and learning rates follow from its depth."""

from __future__ import annotations

import math
from typing import Any

from core.recipe.schema import Model, Train

HEAD_SIZE = 64
"""Also the width per layer: nanochat's aspect ratio."""
MIN_WIDTH = 2 * HEAD_SIZE


def scale_to_depth(depth: int) -> dict[str, Any]:
    """Tables of a recipe for a model of `depth` layers.

    Width 64 · depth and heads of size 64, at least two: nanochat's `--depth` (`base_train.py`), and the proportions of
    GPT-2 from 124M (12 layers, 768) to XL (48 layers, but 1,600 wide).

    Batch size and learning rates are scaled from those of the default model, 3 layers of 256:
    lr, AdamW's, falls with the square root of the width (nanochat, `gpt.py`: (768 / width)^0.5).
    muon_lr stays: an orthogonalised update has the same size in the spectral norm at every width (Muon, Jordan 2024;
    nanochat uses the same 0.02 for matrices of all its depths).
    batch_size, in sequences, follows the optimal batch size, which grows with the training tokens D as D^0.383 (Power
    Lines, arXiv 2505.13738), here rounded to 0.4; D is 20 tokens a parameter (Chinchilla, arXiv 2203.15556), so that it
    grows with the parameters of the blocks to the same power. Rounded to a power of two.
    """
    width = max(MIN_WIDTH, HEAD_SIZE * depth)
    model, train = Model(), Train()
    growth = depth * width**2 / (model.n_layer * model.n_embd**2)
    return {
        "model": {"n_layer": depth, "n_head": width // HEAD_SIZE, "n_embd": width},
        "train": {
            "batch_size": 2 ** round(math.log2(train.batch_size * growth**0.4)),
            "lr": float(f"{train.lr * (model.n_embd / width) ** 0.5:.3g}"),
            "muon_lr": train.muon_lr,
        },
    }
