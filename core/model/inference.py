"""Using a model without changing it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from core.model.gpt import GPT


@contextmanager
def inference(model: GPT, *, dtype: torch.dtype | None = None) -> Iterator[None]:
    """Dropout off, and nothing kept for gradients; afterwards the model trains on if it did before.

    dtype: what the arithmetic is done in meanwhile; None leaves it.

    Going there and back takes as long as a tenth of the smallest model's token: what uses a model again and again does
    it once, and an `inference` within another costs nothing.
    """
    training, usual = model.training, model.dtype
    if training:
        model.eval()
    model.dtype = dtype or usual
    try:
        with torch.inference_mode():
            yield
    finally:
        model.dtype = usual
        if training:
            model.train()
