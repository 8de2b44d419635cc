"""Surprisal of each token of a text."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from core.model.gpt import GPT
from core.model.inference import inference
from core.sample.inspect.activations import hidden_states
from core.sample.inspect.figures import entropy, rank, token_info, top_tokens
from core.sample.inspect_protocol import PromptSurprisal, TokenSurprisal
from core.tokenize.vocabulary import Vocabulary

ROWS = 64
"""Rows of logits computed at a time: 13 MB with GPT-2's vocabulary."""
MASKED_BATCH_TOKENS = 2048
"""Tokens per forward pass of a masked model, whose batch has the text once for each masked position."""


def prompt_surprisal(model: GPT, vocabulary: Vocabulary, ids: Sequence[int]) -> Iterator[PromptSurprisal]:
    """Surprisal of each of `ids`, at most a context, some tokens at a time, each computed on demand."""
    text = torch.tensor(list(ids), device=model.device)
    for first, rows in (_causal_logits if model.mask_token_id is None else _masked_logits)(model, text):
        yield PromptSurprisal(
            tokens=tuple(
                _token_surprisal(vocabulary, position, ids[position], logits)
                for position, logits in enumerate(rows, first)
            )
        )


def _causal_logits(model: GPT, text: Tensor) -> Iterator[tuple[int, list[Tensor | None]]]:
    """A position, and the logits (vocabulary,) for the tokens there and at the next positions, from those before."""
    yield 0, [None]
    states = hidden_states(model, text.tolist())[:-1]
    for first in range(0, len(states), ROWS):
        with inference(model, dtype=torch.float32):
            logits = model.logits(states[first : first + ROWS]).cpu()
        yield first + 1, list(logits)


def _masked_logits(model: GPT, text: Tensor) -> Iterator[tuple[int, list[Tensor | None]]]:
    """As `_causal_logits` for a masked model, from all other tokens: each position is masked in turn."""
    assert model.mask_token_id is not None
    batch = min(ROWS, max(1, MASKED_BATCH_TOKENS // len(text)))
    for first in range(0, len(text), batch):
        positions = torch.arange(first, min(first + batch, len(text)), device=text.device)
        texts = text.repeat(len(positions), 1)
        rows = torch.arange(len(positions), device=text.device)
        texts[rows, positions] = model.mask_token_id
        with inference(model, dtype=torch.float32):
            logits = model.logits(model.hidden_states(texts)[rows, positions]).cpu()
        yield first, list(logits)


def _token_surprisal(vocabulary: Vocabulary, position: int, token: int, logits: Tensor | None) -> TokenSurprisal:
    info = token_info(vocabulary, token)
    if logits is None or not bool(torch.isfinite(logits).all()):
        return TokenSurprisal(position + 1, info, None, None, None, None)
    bits = -float(torch.log_softmax(logits, -1)[token]) / math.log(2)
    predicted = next(top_tokens(vocabulary, logits, 1))
    return TokenSurprisal(position + 1, info, bits, rank(logits, token), entropy(logits), predicted)
