"""Drawing ids without a vocabulary."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from core.model.gpt import GPT
from core.recipe.sampling import Sampling
from core.sample.generate import generate


def settings(**other: Any) -> Sampling:
    """Twelve tokens as the model has them, but for what is said."""
    return Sampling(**{"tokens": 12, "temperature": 1.0, "top_k": 0, "seed": 5, **other})


def ids(model: GPT, prompt: Sequence[int], sampling: Sampling) -> list[int]:
    """The one text that follows, without the stop token that may end it."""
    drawn = []
    for each in generate(model, prompt, sampling):
        if each is None or not isinstance(token := each[1], int):
            continue  # a text that is being read, or a look, whose tokens follow
        if token in sampling.stop_tokens:
            break
        drawn.append(token)
    return drawn
