"""Cross-entropy fused with the head: loss and gradients from hidden states, without storing all logits."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from core.model.matmul import linear
from core.model.tiling import ROWS

IGNORE = -100
"""Target of positions without a loss, as `ignore_index` of `F.cross_entropy`."""


class Loss(NamedTuple):
    """Sums over all positions with a target; scalars."""

    objective: Tensor
    """What to minimise: `nats` plus label smoothing and z-loss."""
    nats: Tensor
    """Weighted cross-entropy in nats; without gradient."""


def head_loss(
    hidden_states: Tensor,
    head: Tensor,
    targets: Tensor,
    *,
    vocab_size: int,
    weights: Tensor | None = None,
    label_smoothing: float = 0.0,
    z_loss: float = 0.0,
) -> Loss:
    """Loss of the logits `hidden_states` (N, C) · `head`ᵀ (≥ vocab_size, C) against `targets` (N,), int64.

    Positions whose target is `IGNORE` have no loss. weights: (N,), of each position; None: 1. vocab_size: rows of
    `head` that are used. label_smoothing: share of each target spread evenly over the vocabulary (arXiv 1512.00567).
    z_loss: coefficient of log²(sum of exp(logits)) (PaLM, arXiv 2204.02311, section 5).

    The logits are the largest tensor of a training step, so they are never stored as a whole: for some rows at a time
    the loss and its gradient are computed while the logits are in the processor's cache. That saves the memory (1.2 GB
    for GPT-2's vocabulary and 2,048 tokens) and a tenth of the time of the head (4,096 entries, width 384).
    """
    has_target = targets != IGNORE
    weights = has_target.float() if weights is None else has_target * weights.float()
    targets = targets.clamp(min=0)
    objective, nats = _HeadLoss.apply(  # type: ignore[no-untyped-call]
        hidden_states, head, targets, weights, vocab_size, label_smoothing, z_loss
    )
    return Loss(objective, nats)


class _HeadLoss(torch.autograd.Function):
    """The gradient is computed with the loss; `backward` only scales it."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden_states: Tensor,
        head: Tensor,
        targets: Tensor,
        weights: Tensor,
        vocab_size: int,
        label_smoothing: float,
        z_loss: float,
    ) -> tuple[Tensor, Tensor]:
        needs_grad = ctx.needs_input_grad[0] or ctx.needs_input_grad[1]
        rounded = head.to(hidden_states.dtype)
        d_hidden = torch.empty_like(hidden_states if needs_grad else hidden_states[:0])
        d_head = torch.zeros_like(head if needs_grad else head[:0], dtype=torch.float32)
        objective, nats = (torch.zeros((), device=hidden_states.device) for _ in range(2))
        rows = ROWS[hidden_states.device.type]
        for start in range(0, len(hidden_states), rows):
            chunk = slice(start, start + rows)
            x, target, weight = hidden_states[chunk], targets[chunk, None], weights[chunk, None]
            logits = linear(x, rounded)[:, :vocab_size].float()  # (rows, vocab_size)
            target_logit = logits.gather(1, target)  # (rows, 1), as all that follow
            mean = logits.mean(-1, keepdim=True) if label_smoothing else target_logit
            largest = logits.amax(-1, keepdim=True)
            exp = logits.sub_(largest).exp_()  # in place: one exponential for each logit
            total = exp.sum(-1, keepdim=True)
            log_sum_exp = total.log() + largest
            nats += ((log_sum_exp - target_logit) * weight).sum()
            smoothed = log_sum_exp - target_logit + label_smoothing * (target_logit - mean)
            objective += ((smoothed + z_loss * log_sum_exp.square()) * weight).sum()
            if not needs_grad:
                continue
            # d loss / d logits: softmax minus the smoothed one-hot target, in place of `exp`
            d_logits = exp.mul_(weight * (1 + 2 * z_loss * log_sum_exp) / total)
            if label_smoothing:
                d_logits -= weight * label_smoothing / vocab_size
            d_logits.scatter_add_(1, target, weight * (label_smoothing - 1))
            d_logits = F.pad(d_logits, (0, len(head) - vocab_size)).to(hidden_states.dtype)
            d_hidden[chunk] = linear(d_logits, rounded.t())
            d_head += d_logits.t() @ x
        ctx.save_for_backward(d_hidden, d_head)
        ctx.mark_non_differentiable(nats)
        return objective, nats

    @staticmethod
    def backward(ctx: Any, scale: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        d_hidden, d_head = ctx.saved_tensors
        return d_hidden * scale, d_head * scale, None, None, None, None, None
