"""Loss of a given text under a model, chunk by chunk, so that progress can be reported."""

from __future__ import annotations

import math
from collections.abc import Generator, Iterator, Sequence
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from core.model.gpt import GPT
from core.model.inference import inference
from core.model.loss import head_loss
from core.model.objectives import diffusion_masking
from core.model.text_loss import sum_nats
from core.sample.kv_decoder import padded_length, tokens_kept_when_full
from core.sample.samplers import LogitsError

T = TypeVar("T")

_LOGITS_ROWS = 64
"""Rows of logits in memory at a time: 13 MB with GPT-2's vocabulary."""

CHUNK_TOKENS = 256
"""Tokens per forward pass, or one context if that is longer; other requests get their turn in between."""
MIN_MASKINGS = 64
"""Random maskings of a text, at least, that a masked model is evaluated on: with few, the estimate of the bound depends
on which tokens they mask."""


class ChunkLoss(NamedTuple):
    """Loss of the next tokens of a text."""

    nats: float
    """Sum over the tokens."""
    tokens: int
    each: tuple[float, ...] = ()
    """Of each token, if requested."""


def short_context_tokens(model: GPT, tokens: int) -> int:
    """How many of `tokens` after an end-of-text token a causal model predicts from less than half a context."""
    return 0 if model.mask_token_id is not None else min(tokens, tokens_kept_when_full(model.config.block_size) - 1)


def token_losses(
    model: GPT, ids: Sequence[int] | NDArray[np.integer[Any]], known: int = 1, *, each: bool = False
) -> Generator[ChunkLoss, None, None]:
    """The loss of `ids` after the first `known` ones, which are at least one and fit a context.

    A causal model predicts each token from the context it would have when generating it: when a context is full, its
    newest half starts the next one, so that from then on every token has at least half a context before it. A masked
    model is evaluated as in `objectives.diffusion_masking`, in contexts that do not overlap: a deterministic estimate
    of the variational bound. In float32 whatever the model was trained in. each: whether to give the loss of each
    token, causal models only. Raises LogitsError if logits are not finite.
    """
    text = torch.from_numpy(np.asarray(ids, np.int32))  # half the memory of int64
    chunks = (
        _causal_losses(model, text, known, each)
        if model.mask_token_id is None
        else _masked_losses(model, text, model.mask_token_id)
    )
    for chunk in chunks:
        if not math.isfinite(chunk.nats):
            raise LogitsError
        yield chunk


def _causal_losses(model: GPT, ids: Tensor, known: int, each: bool) -> Generator[ChunkLoss, None, None]:
    block_size = model.config.block_size
    kept = tokens_kept_when_full(block_size)
    yield _window_loss(model, ids[None, : block_size + 1].long(), known - 1, each)
    # starts of the later contexts, as far as they have tokens to predict
    starts = range(block_size + 1 - kept, len(ids) - kept, block_size + 1 - kept)
    full = [start for start in starts if start + block_size < len(ids)]
    for batch in _batches(full, block_size):
        windows = torch.stack([ids[start : start + block_size + 1] for start in batch]).long()
        yield _window_loss(model, windows, kept - 1, each)
    for start in starts[len(full) :]:
        yield _window_loss(model, ids[None, start:].long(), kept - 1, each)


def _window_loss(model: GPT, windows: Tensor, first: int, each: bool) -> ChunkLoss:
    """Loss of `windows` (B, T + 1) from the prediction at position `first` on."""
    inputs, targets = windows[:, :-1], windows[:, first + 1 :]
    length = inputs.shape[1]
    padding = padded_length(length, model.config.block_size) - length
    inputs = torch.nn.functional.pad(inputs, (0, padding))  # causal: padding after a token does not affect it
    with inference(model, dtype=torch.float32):
        hidden_states = model.hidden_states(inputs.to(model.device))[:, first:length].flatten(0, 1)
        if each:
            losses = torch.cat([_cross_entropy(model, *rows) for rows in _rows(hidden_states, targets.flatten())])
            return ChunkLoss(float(losses.sum()), len(losses), tuple(losses.tolist()))
        loss = head_loss(
            hidden_states, model.lm_head.weight, targets.flatten().to(model.device), vocab_size=model.vocab_size
        )
    return ChunkLoss(loss.nats.item(), targets.numel())


def _rows(hidden_states: Tensor, targets: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    return zip(torch.split(hidden_states, _LOGITS_ROWS), torch.split(targets, _LOGITS_ROWS), strict=True)


def _cross_entropy(model: GPT, hidden_states: Tensor, targets: Tensor) -> Tensor:
    """(n,) in nats."""
    return torch.nn.functional.cross_entropy(model.logits(hidden_states).cpu(), targets, reduction="none")


def _masked_losses(model: GPT, ids: Tensor, mask: int) -> Generator[ChunkLoss, None, None]:
    block_size = model.config.block_size
    starts = range(0, len(ids) - 1, block_size)
    repeats = -(-MIN_MASKINGS // len(starts))
    # each repeat masks another share of the window
    maskings = [(start, window * repeats + repeat) for window, start in enumerate(starts) for repeat in range(repeats)]
    full = [masking for masking in maskings if masking[0] + block_size < len(ids)]
    for batch in (*_batches(full, block_size), *_batches(maskings[len(full) :], block_size)):
        windows = torch.stack([ids[start : start + block_size + 1] for start, _ in batch]).long()
        examples = diffusion_masking(windows, mask, seed=0, step=0, indices=[index for _, index in batch])
        with inference(model, dtype=torch.float32):
            loss = sum_nats(model, examples, len(batch))
        yield ChunkLoss(loss / repeats, sum(windows.shape[1] - 1 for _, index in batch if index % repeats == 0))


def _batches(items: Sequence[T], block_size: int) -> Iterator[Sequence[T]]:
    size = max(1, CHUNK_TOKENS // block_size)
    return (items[start : start + size] for start in range(0, len(items), size))
