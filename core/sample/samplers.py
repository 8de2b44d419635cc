"""From scores to one token: pure functions, applied in the order temperature, top-k, top-p, draw."""

from __future__ import annotations

import torch
from torch import Tensor

from core.trouble import Trouble


class BadLogits(Trouble):
    doing = "draw text"


def finite(logits: Tensor) -> Tensor:
    """The scores as they are. Raises BadLogits where one is not finite."""
    if not bool(torch.isfinite(logits).all()):
        raise BadLogits("the model's output is not finite", todo="use an earlier checkpoint")
    return logits


def warm(logits: Tensor, temperature: float) -> Tensor:
    """Scores (V,) divided by the temperature, which is above 0."""
    return logits / temperature


def keep_top_k(logits: Tensor, k: int) -> Tensor:
    """Scores (V,) with all but the k highest at -inf; ties with the k-th stay. k = 0 or k ≥ V keeps all."""
    if k <= 0 or k >= logits.numel():
        return logits
    return logits.masked_fill(logits < torch.topk(logits, k).values[-1], -torch.inf)


def keep_top_p(logits: Tensor, p: float) -> Tensor:
    """Scores (V,) with all but the likeliest tokens, up to the one that brings their sum to p, at -inf.

    At least the likeliest stays. Nucleus sampling: Holtzman et al. 2019, arXiv 1904.09751.
    """
    if p >= 1:
        return logits
    probabilities, order = torch.sort(torch.softmax(logits, -1), descending=True)
    before = probabilities.cumsum(-1) - probabilities
    drop = torch.zeros_like(logits, dtype=torch.bool).scatter(0, order, before >= p)
    return logits.masked_fill(drop, -torch.inf)


def draw(logits: Tensor, *, temperature: float, top_k: int, top_p: float, generator: torch.Generator) -> int:
    """One token id for the scores (V,). Temperature 0 takes the highest score, the first of equals."""
    if temperature == 0:
        return int(logits.argmax())
    kept = keep_top_p(keep_top_k(warm(logits, temperature), top_k), top_p)
    return int(torch.multinomial(torch.softmax(kept, -1), 1, generator=generator))
