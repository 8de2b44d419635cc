"""What a prediction costs: cross-entropy, and what may be added to it, straight from the last layer's input."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from core.model.matmul import product
from core.model.tiling import ROWS

IGNORE = -100
"""The target of a place where nothing is predicted."""


class Loss(NamedTuple):
    """Sums over all places with a target."""

    objective: Tensor
    """What to minimise: `nats`, with label smoothing and z-loss where they are asked for."""
    nats: Tensor
    """Cross-entropy in nats, each place times its weight; without gradient."""


def head_loss(
    hidden: Tensor,
    head: Tensor,
    targets: Tensor,
    *,
    vocabulary: int,
    weights: Tensor | None = None,
    label_smoothing: float = 0.0,
    z_loss: float = 0.0,
) -> Loss:
    """Loss of the scores `hidden` (N, C) times `head` (≥ V, C) transposed, against `targets` (N,), int64.

    Targets that are `IGNORE` count nothing; weights: (N,), 1 where left out. vocabulary: V, the rows of `head` that
    count. label_smoothing: share of each target spread over all V alike (Szegedy et al. 2016). z_loss: times the
    squared logarithm of the sum of the exponentiated scores (PaLM, arXiv 2204.02311, section 5).

    The scores are the largest thing in a step of training, so they are never there as a whole: for some rows at a
    time they become a loss and its gradient at once, while they are in the cache. That saves the memory (1.2 GB for
    GPT-2's vocabulary and 2,048 tokens) and a tenth of the time of the last layer (4,096 entries, width 384).
    """
    there = targets != IGNORE
    weights = there.float() if weights is None else there * weights.float()
    targets = targets.clamp(min=0)
    objective, nats = _HeadLoss.apply(  # type: ignore[no-untyped-call]
        hidden, head, targets, weights, vocabulary, label_smoothing, z_loss
    )
    return Loss(objective, nats)


class _HeadLoss(torch.autograd.Function):
    """The gradient is known with the loss; `backward` only has to scale it."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        head: Tensor,
        targets: Tensor,
        weights: Tensor,
        vocabulary: int,
        label_smoothing: float,
        z_loss: float,
    ) -> tuple[Tensor, Tensor]:
        wanted = ctx.needs_input_grad[0] or ctx.needs_input_grad[1]
        rounded = head.to(hidden.dtype)
        d_hidden = torch.empty_like(hidden if wanted else hidden[:0])
        d_head = torch.zeros_like(head if wanted else head[:0], dtype=torch.float32)
        objective, nats = (torch.zeros((), device=hidden.device) for _ in range(2))
        rows = ROWS[hidden.device.type]
        for start in range(0, len(hidden), rows):
            part = slice(start, start + rows)
            x, target, weight = hidden[part], targets[part, None], weights[part, None]
            scores = product(x, rounded)[:, :vocabulary].float()  # (rows, V)
            there = scores.gather(1, target)
            mean = scores.mean(-1, keepdim=True) if label_smoothing else there
            highest = scores.amax(-1, keepdim=True)
            powers = scores.sub_(highest).exp_()  # in place, as all that follows: one exponential for each score
            total = powers.sum(-1, keepdim=True)
            log_sum = total.log() + highest
            nats += ((log_sum - there) * weight).sum()
            smoothed = log_sum - there + label_smoothing * (there - mean)
            objective += ((smoothed + z_loss * log_sum.square()) * weight).sum()
            if not wanted:
                continue
            # d loss / d scores: the probabilities, less what was there
            d_scores = powers.mul_(weight * (1 + 2 * z_loss * log_sum) / total)
            if label_smoothing:
                d_scores -= weight * label_smoothing / vocabulary
            d_scores.scatter_add_(1, target, weight * (label_smoothing - 1))
            d_scores = F.pad(d_scores, (0, len(head) - vocabulary)).to(hidden.dtype)
            d_hidden[part] = product(d_scores, rounded.t())
            d_head += d_scores.t() @ x
        ctx.save_for_backward(d_hidden, d_head)
        ctx.mark_non_differentiable(nats)
        return objective, nats

    @staticmethod
    def backward(ctx: Any, scale: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        d_hidden, d_head = ctx.saved_tensors
        return d_hidden * scale, d_head * scale, None, None, None, None, None
