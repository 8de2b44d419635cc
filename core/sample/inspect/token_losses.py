"""How surprised a model is by each token of a text."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from core.model.gpt import GPT
from core.model.inference import inference
from core.sample.inspect.activations import hidden
from core.sample.inspect.figures import entropy, guesses, rank, told
from core.sample.inspect_protocol import Surprise, Surprises
from core.tokenize.vocabulary import Vocabulary

ROWS = 64
"""Of the matrix of outputs so many are looked at together: 13 MB of GPT-2's."""
LOOK = 2048
"""Tokens that a masked model reads at once, in texts that each have another place hidden."""


def surprises(model: GPT, vocabulary: Vocabulary, ids: Sequence[int]) -> Iterator[Surprises]:
    """What `ids`, at most a context, cost token by token; a few at a time, each worked out when it is asked for."""
    text = torch.tensor(list(ids), device=model.device)
    for first, rows in (_from_before if model.mask_token_id is None else _from_all_others)(model, text):
        yield Surprises(
            tokens=tuple(_surprise(vocabulary, place, ids[place], scores) for place, scores in enumerate(rows, first))
        )


def _from_before(model: GPT, text: Tensor) -> Iterator[tuple[int, list[Tensor | None]]]:
    """A place, and the scores (vocabulary,) there and at the next ones: a causal model's, from what stands before."""
    yield 0, [None]
    vectors = hidden(model, text.tolist())[:-1]
    for first in range(0, len(vectors), ROWS):
        with inference(model, dtype=torch.float32):
            scores = model.logits(vectors[first : first + ROWS]).cpu()
        yield first + 1, list(scores)


def _from_all_others(model: GPT, text: Tensor) -> Iterator[tuple[int, list[Tensor | None]]]:
    """The same for a masked model, each place being hidden in turn."""
    assert model.mask_token_id is not None
    at_once = min(ROWS, max(1, LOOK // len(text)))
    for first in range(0, len(text), at_once):
        places = torch.arange(first, min(first + at_once, len(text)), device=text.device)
        texts = text.repeat(len(places), 1)
        rows = torch.arange(len(places), device=text.device)
        texts[rows, places] = model.mask_token_id
        with inference(model, dtype=torch.float32):
            scores = model.logits(model.hidden_states(texts)[rows, places]).cpu()
        yield first, list(scores)


def _surprise(vocabulary: Vocabulary, place: int, token: int, scores: Tensor | None) -> Surprise:
    shown = told(vocabulary, token)
    if scores is None or not bool(torch.isfinite(scores).all()):
        return Surprise(place + 1, shown, None, None, None, None)
    bits = -float(torch.log_softmax(scores, -1)[token]) / math.log(2)
    return Surprise(place + 1, shown, bits, rank(scores, token), entropy(scores), next(guesses(vocabulary, scores, 1)))
