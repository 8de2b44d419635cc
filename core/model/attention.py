"""Scaled dot-product attention, by the implementation that is fastest for device, dtype and length."""

from __future__ import annotations

import functools
import math

import torch
import torch.nn.functional as F
from torch import Tensor

from core.model.tiling import block_rows, in_blocks


def attend(q: Tensor, k: Tensor, v: Tensor, *, causal: bool, dropout: float = 0.0) -> Tensor:
    """softmax(q kᵀ / sqrt(head_size)) v: (B, n_head, T, head_size).

    q: (B, n_head, T, head_size). k, v: (B, n_kv_head, T, head_size), each head for a group of query heads.
    dropout: probability of the attention weights.
    """
    if q.device.type == "cpu" and in_blocks(q.shape[2], itemsize=q.itemsize, dropout=dropout > 0):
        return _attend_in_blocks(q, k, v, causal=causal, dropout=dropout)
    grouped = k.shape[1] < q.shape[1]
    return F.scaled_dot_product_attention(q, k, v, is_causal=causal, dropout_p=dropout, enable_gqa=grouped)


def attend_cached(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Causal attention of the last T of S positions, for decoding: (B, n_head, T, head_size). No dropout.

    q: (B, n_head, T, head_size). k, v: (B, n_kv_head, S, head_size) of all S ≥ T positions.
    """
    B, H, T, head_size = q.shape
    groups, S = k.shape[1:3]
    # the query heads of a group become rows that share one head of keys, which need not be repeated
    rows = q.reshape(B, groups, H // groups * T, head_size)
    visible = None if T == 1 else k.new_ones(T, S, dtype=torch.bool).tril(S - T).repeat(H // groups, 1)
    return F.scaled_dot_product_attention(rows, k, v, attn_mask=visible).view(B, H, T, head_size)


def _attend_in_blocks(q: Tensor, k: Tensor, v: Tensor, *, causal: bool, dropout: float) -> Tensor:
    """Attention by matrix products, for one block of queries at a time with the keys visible to it.

    On the CPU torch's fused kernel takes 1.5 to 4 times as long in bfloat16 (two cores, T 64 to 1024, forward and
    backward): the products here use the processor's instructions for bfloat16, and the blocks above the diagonal are
    skipped. The cost is memory: the attention weights are saved for the backward pass.
    """
    B, H, T, head_size = q.shape
    if k.shape[1] < H:
        k, v = (x.repeat_interleave(H // k.shape[1], 1) for x in (k, v))
    q, k, v = (x.reshape(B * H, T, head_size) for x in (q, k, v))
    rows = block_rows(T) if causal else T
    outputs = []
    for start in range(0, T, rows):
        end = min(start + rows, T)
        visible = end if causal else T
        mask = causal_mask(end - start, visible, causal, q.dtype)
        scores = torch.baddbmm(mask, q[:, start:end], k[:, :visible].transpose(1, 2), alpha=1 / math.sqrt(head_size))
        weights = torch.softmax(scores, -1)  # (B * H, rows, visible)
        if dropout:
            weights = F.dropout(weights, dropout)
        outputs.append(torch.bmm(weights, v[:, :visible]))  # (B * H, rows, head_size)
    return torch.cat(outputs, 1).view(B, H, T, head_size)


def causal_mask(rows: int, visible: int, causal: bool, dtype: torch.dtype) -> Tensor:
    """Additive mask of the last `rows` of `visible` positions: -inf where the key comes after the query.

    (rows, visible), or a single zero (1, 1) where not causal. Constant under torch.compile, see `GPT.compile_blocks`.
    """
    return _causal_mask(rows, visible, causal, dtype)


@functools.lru_cache(maxsize=64)
def _causal_mask(rows: int, visible: int, causal: bool, dtype: torch.dtype) -> Tensor:
    with torch.inference_mode(False):  # cached: a later call may compute gradients
        mask = torch.full((rows, visible) if causal else (1, 1), -math.inf if causal else 0.0, dtype=dtype)
        return mask.triu(visible - rows + 1) if causal else mask
