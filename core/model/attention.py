"""Scaled dot-product attention, computed in the way that is fastest for the device and the length."""

from __future__ import annotations

import functools
import math

import torch
import torch.nn.functional as F
from torch import Tensor

from core.model.tiling import block_rows, in_blocks


def attend(q: Tensor, k: Tensor, v: Tensor, *, causal: bool, dropout: float = 0.0) -> Tensor:
    """What each query gathers: (B, n_head, T, size) like `q`.

    q: (B, n_head, T, size). k and v: (B, n_kv_head, T, size), each head for a group of query heads. causal: nobody
    sees what comes later. dropout: share of the probabilities dropped.
    """
    if q.device.type == "cpu" and in_blocks(q.shape[2], itemsize=q.itemsize, dropout=dropout > 0):
        return _by_blocks(q, k, v, causal=causal, dropout=dropout)
    grouped = k.shape[1] < q.shape[1]
    return F.scaled_dot_product_attention(q, k, v, is_causal=causal, dropout_p=dropout, enable_gqa=grouped)


def attend_kept(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """What the last T places of a text gather from all of it, each from those up to itself: (B, n_head, T, size).

    q: (B, n_head, T, size). k and v: (B, n_kv_head, S, size) of all S ≥ T places. For generation: no gradient, no
    dropout.
    """
    B, H, T, size = q.shape
    groups, S = k.shape[1:3]
    # the queries of a group are so many rows that look at the same keys, which need no copies
    rows = q.reshape(B, groups, H // groups * T, size)
    seen = None if T == 1 else k.new_ones(T, S, dtype=torch.bool).tril(S - T).repeat(H // groups, 1)
    return F.scaled_dot_product_attention(rows, k, v, attn_mask=seen).view(B, H, T, size)


def _by_blocks(q: Tensor, k: Tensor, v: Tensor, *, causal: bool, dropout: float) -> Tensor:
    """Attention as products of matrices, for a block of queries at a time, each with the keys it may see.

    On the CPU torch's fused kernel takes 1.5 to 4 times as long in bfloat16 (two cores, T 64 to 1024, forward and
    backward), since the products here use the instructions made for them and the block above the diagonal is
    skipped. What it costs is memory: the probabilities are kept for the backward pass.
    """
    B, H, T, size = q.shape
    if k.shape[1] < H:
        k, v = (x.repeat_interleave(H // k.shape[1], 1) for x in (k, v))
    q, k, v = (x.reshape(B * H, T, size) for x in (q, k, v))
    rows = block_rows(T) if causal else T
    gathered = []
    for start in range(0, T, rows):
        end = min(start + rows, T)
        seen = end if causal else T
        unseen = mask(end - start, seen, causal, q.dtype)
        scores = torch.baddbmm(unseen, q[:, start:end], k[:, :seen].transpose(1, 2), alpha=1 / math.sqrt(size))
        probabilities = torch.softmax(scores, -1)
        if dropout:
            probabilities = F.dropout(probabilities, dropout)
        gathered.append(torch.bmm(probabilities, v[:, :seen]))  # (B * H, rows, size)
    return torch.cat(gathered, 1).view(B, H, T, size)


def mask(rows: int, seen: int, causal: bool, dtype: torch.dtype) -> Tensor:
    """What is added to the scores of the last `rows` of `seen` places: minus infinity where a key is yet to come.

    A constant to whoever compiles what uses it: see `GPT.compile_blocks`.
    """
    return _made(rows, seen, causal, dtype)


@functools.lru_cache(maxsize=64)
def _made(rows: int, seen: int, causal: bool, dtype: torch.dtype) -> Tensor:
    with torch.inference_mode(False):  # kept for the next call, which may want gradients
        blocked = torch.full((rows, seen) if causal else (1, 1), -math.inf if causal else 0.0, dtype=dtype)
        return blocked.triu(seen - rows + 1) if causal else blocked
