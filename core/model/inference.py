"""Using a model without changing it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from core.model.gpt import GPT


@contextmanager
def inference(model: GPT) -> Iterator[None]:
    """Dropout off, and nothing kept for gradients; afterwards the model trains on if it did before."""
    training = model.training
    model.eval()
    try:
        with torch.inference_mode():
            yield
    finally:
        model.train(training)
