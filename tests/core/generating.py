"""Generated token ids, without a vocabulary."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from core.model.gpt import GPT
from core.recipe.sampling import Sampling
from core.sample.generate import generate


def settings(**other: Any) -> Sampling:
    """Twelve tokens at temperature 1 without filters, except for the given settings."""
    return Sampling(**{"tokens": 12, "temperature": 1.0, "top_k": 0, "seed": 5, **other})


def generate_ids(model: GPT, prompt: Sequence[int], sampling: Sampling) -> list[int]:
    """Token ids of one continuation of `prompt`, without a stop token."""
    generated = []
    for event in generate(model, prompt, sampling):
        if event is None or not isinstance(token := event[1], int):
            continue  # prefill, or a denoising step
        if token in sampling.stop_tokens:
            break
        generated.append(token)
    return generated
