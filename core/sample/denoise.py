"""A masked model writes: all places are hidden at first, and are uncovered a few at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from core.model.gpt import GPT
from core.model.inference import inference
from core.sample.chain import Chain
from core.sample.samplers import finite

STEPS = 64
"""How often the model looks at most while it uncovers a stretch of text."""


def room(model: GPT, tokens: int) -> int:
    """Tokens of a prompt that the model sees when it has to write `tokens` more: half a context is for writing."""
    return model.shape.block_size - min(tokens, -(-model.shape.block_size // 2))


def denoise(model: GPT, prompt: Sequence[int], chain: Chain, *, tokens: int, steps: int = STEPS) -> Iterator[int]:
    """Yield `tokens` ids that follow `prompt`; what does not fit a context is written stretch by stretch.

    The next stretch sees the end of the one before (LLaDA, arXiv 2502.09992, calls it semi-autoregressive). Raises
    BadLogits when the model's output is not finite.
    """
    ids, end = list(prompt), len(prompt) + tokens
    while len(ids) < end:
        left = end - len(ids)
        known = ids[max(0, len(ids) - room(model, left)) :]
        places = min(left, model.shape.block_size - len(known))
        stretch = torch.tensor(known + [model.vocabulary] * places)
        hidden = torch.arange(len(known), len(stretch))
        for looks in range(min(steps, places), 0, -1):
            # at random, one by one: the process of which the training loss bounds the likelihood
            order = hidden[torch.randperm(len(hidden), generator=chain.generator)]
            share = -(-len(hidden) // looks)
            now, hidden = order[:share], order[share:]
            for place, logits in zip(now.tolist(), _scores(model, stretch, now), strict=True):
                stretch[place] = chain.draw(logits)
        fresh = stretch[len(known) :].tolist()
        ids += fresh
        yield from fresh


def _scores(model: GPT, ids: Tensor, places: Tensor) -> Tensor:
    """Scores (places, V) for what stands at `places` of `ids` (T,), on the CPU."""
    with inference(model):
        hidden = model.hidden(ids[None].to(model.device))[0]
        return finite(model.scores(hidden[places.to(model.device)]).cpu())
