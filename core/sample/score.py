"""What a given text costs under a model: a part at a time, so that it can be told how far it is."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from core.model.cost import nats
from core.model.gpt import GPT
from core.model.inference import inference
from core.model.loss import head_loss
from core.model.objectives import diffusion_masking
from core.sample.kv_decoder import filled, kept_at_the_edge
from core.sample.samplers import LogitsError

T = TypeVar("T")

PLACES = 256
"""Tokens that the model looks at in one go, or one context if that is more: between two of them others get a turn."""
LOOKS = 64
"""How often a masked model looks at least at a text: with few looks the estimate of its bound depends on what they
happen to hide."""


class Part(NamedTuple):
    """What some more tokens of a text cost."""

    nats: float
    tokens: int


def few_before(model: GPT, tokens: int) -> int:
    """Of so many behind an end-of-text mark, the first, those of which a causal model sees less than half a context."""
    return 0 if model.mask_token_id is not None else min(tokens, kept_at_the_edge(model.config.block_size) - 1)


def parts(model: GPT, ids: Sequence[int] | NDArray[np.integer[Any]], known: int = 1) -> Iterator[Part]:
    """What each token of `ids` behind the first `known` costs; those are at least one and fit a context.

    A causal model sees of the text what it would see if it were writing it: a context is read to its end, then its
    newest half begins the next, so that behind the first every token has at least half a context before it. A masked
    one is scored as `examples.drawn` says, in contexts that do not overlap: an estimate of a bound, always the same.
    In float32 whatever the model trains in. Raises LogitsError when the model's output is not finite.
    """
    text = torch.from_numpy(np.asarray(ids, np.int32))  # half of what int64 takes: a text may be long
    every = _causal(model, text, known) if model.mask_token_id is None else _masked(model, text, model.mask_token_id)
    for part in every:
        if not math.isfinite(part.nats):
            raise LogitsError
        yield part


def _causal(model: GPT, ids: Tensor, known: int) -> Iterator[Part]:
    block = model.config.block_size
    kept = kept_at_the_edge(block)
    yield _read(model, ids[None, : block + 1].long(), known - 1)
    # where the contexts begin that have something to predict behind what they keep
    starts = range(block + 1 - kept, len(ids) - kept, block + 1 - kept)
    full = [start for start in starts if start + block < len(ids)]
    for some in _some(full, block):
        windows = torch.stack([ids[start : start + block + 1] for start in some]).long()
        yield _read(model, windows, kept - 1)
    for start in starts[len(full) :]:
        yield _read(model, ids[None, start:].long(), kept - 1)


def _read(model: GPT, windows: Tensor, first: int) -> Part:
    """What `windows` (B, T + 1) cost from the prediction at place `first` on."""
    seen, targets = windows[:, :-1], windows[:, first + 1 :]
    length = seen.shape[1]
    room = filled(length, model.config.block_size)
    seen = torch.nn.functional.pad(seen, (0, room - length))  # what comes behind a token changes nothing for it
    with inference(model, dtype=torch.float32):
        hidden = model.hidden_states(seen.to(model.device))[:, first:length].flatten(0, 1)
        cost = head_loss(hidden, model.lm_head.weight, targets.flatten().to(model.device), vocab_size=model.vocab_size)
    return Part(cost.nats.item(), targets.numel())


def _masked(model: GPT, ids: Tensor, mask: int) -> Iterator[Part]:
    block = model.config.block_size
    starts = range(0, len(ids) - 1, block)
    looks = -(-LOOKS // len(starts))
    # every look at a window hides another share of it
    every = [(start, index * looks + look) for index, start in enumerate(starts) for look in range(looks)]
    full = [each for each in every if each[0] + block < len(ids)]
    for some in (*_some(full, block), *_some(every[len(full) :], block)):
        windows = torch.stack([ids[start : start + block + 1] for start, _ in some]).long()
        examples = diffusion_masking(windows, mask, seed=0, step=0, indices=[index for _, index in some])
        with inference(model, dtype=torch.float32):
            cost = nats(model, examples, len(some))
        yield Part(cost / looks, sum(windows.shape[1] - 1 for _, index in some if index % looks == 0))


def _some(every: Sequence[T], block: int) -> Iterator[Sequence[T]]:
    size = max(1, PLACES // block)
    return (every[at : at + size] for at in range(0, len(every), size))
