"""A masked model writes: all places are hidden at first, and are uncovered a few at a time."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from core.errors import UsageError
from core.model.gpt import GPT
from core.model.inference import inference
from core.recipe.sampling import Order
from core.sample.logits_processors import Chain
from core.sample.samplers import finite

LOOKS = 64
"""How often the model looks at most at a stretch of text while it uncovers it, where nothing else is said."""

_AT_ONCE = 2**22
"""Scores computed at a time, 16 MiB of them: with GPT-2's vocabulary those of 83 places."""


class ContextLengthError(UsageError):
    """A middle that leaves no room for what it is the middle of."""

    doing = "draw text"


class Unmasking(NamedTuple):
    """How a masked model writes, and what stands behind its text."""

    suffix: Sequence[int] = ()
    order: Order = "random"
    looks: int = LOOKS
    """At a stretch of text; at most one for each of its places."""


class Stretch(NamedTuple):
    """A stretch of text after a look of the model."""

    ids: tuple[int | None, ...]
    """None where a place is hidden still; the next stretch begins when none is."""
    fresh: tuple[int, ...]
    """The places in it that this look has uncovered, in the order of uncovering."""


def room(model: GPT, tokens: int) -> int:
    """Tokens of a prompt that the model sees when it has to write `tokens` more: half a context is for writing."""
    return model.config.block_size - min(tokens, -(-model.config.block_size // 2))


def around(
    model: GPT, prompt: Sequence[int], suffix: Sequence[int], tokens: int
) -> tuple[Sequence[int], Sequence[int]]:
    """What the model sees of a prompt's end and a suffix's beginning, with `tokens` between them in one context.

    Each has half of the room and what the other does not need. Raises ContextLengthError.
    """
    left = model.config.block_size - tokens
    if left < 2:
        raise ContextLengthError(
            f"{tokens:,} tokens and what stands before and behind them do not fit a context of"
            f" {model.config.block_size:,}",
            todo=f"ask for at most {model.config.block_size - 2:,} tokens"
            if model.config.block_size > 2
            else "ask without a suffix",
        )
    behind = suffix[: max(left // 2, left - len(prompt))]
    return prompt[max(0, len(prompt) - (left - len(behind))) :], behind


def denoise(model: GPT, prompt: Sequence[int], chain: Chain, *, tokens: int, way: Unmasking) -> Iterator[Stretch]:
    """Write `tokens` ids that follow `prompt`: yield the stretch that is being written after each look at it.

    What does not fit a context is written stretch by stretch, and the next one sees the end of the one before (LLaDA,
    arXiv 2502.09992, calls it semi-autoregressive). With a suffix all has to fit: see `around`. Raises LogitsError when
    the model's output is not finite.
    """
    ids, end = list(prompt), len(prompt) + tokens
    while len(ids) < end:
        left = end - len(ids)
        before = ids if way.suffix else ids[max(0, len(ids) - room(model, left)) :]
        places = left if way.suffix else min(left, model.config.block_size - len(before))
        ids = ids + (yield from _stretch(model, before, places, chain, way))


def _stretch(
    model: GPT, before: list[int], places: int, chain: Chain, way: Unmasking
) -> Generator[Stretch, None, list[int]]:
    start, end = len(before), len(before) + places
    text = torch.tensor([*before, *[model.vocab_size] * places, *way.suffix])
    hidden = torch.arange(start, end)
    for looks in range(min(way.looks, places), 0, -1):
        fresh, drawn = _look(_Seen(model, text), hidden, -(-len(hidden) // looks), chain, way.order)
        text[fresh] = torch.tensor(drawn)
        hidden = hidden[~torch.isin(hidden, fresh)]
        covered = set(hidden.tolist())
        yield Stretch(
            tuple(None if place in covered else int(text[place]) for place in range(start, end)),
            tuple((fresh - start).tolist()),
        )
    written: list[int] = text[start:end].tolist()
    return written


class _Seen:
    """What the model makes of a text (T,) with hidden places in it."""

    def __init__(self, model: GPT, text: Tensor) -> None:
        self._model = model
        with inference(model):
            self._vectors = model.hidden_states(text[None].to(model.device))[0]

    def scores(self, places: Tensor) -> Iterator[Tensor]:
        """Scores (some, V) for what stands at the next of `places`, on the CPU, until all have been."""
        for some in torch.split(places, max(1, _AT_ONCE // self._model.vocab_size)):
            with inference(self._model):
                scores = finite(self._model.logits(self._vectors[some.to(self._model.device)]).cpu())
            yield scores


def _look(seen: _Seen, hidden: Tensor, share: int, chain: Chain, order: Order) -> tuple[Tensor, list[int]]:
    """Which `share` places of `hidden` to uncover, in this order, and a token for each; `chain` remembers them.

    At random: the process of which the training loss bounds the likelihood. By entropy: where the model's own
    distribution, before any sampler, leaves least open. Penalties count what earlier places have, those of the same
    look included.
    """
    if order == "confidence":
        return _surest(seen, hidden, share, chain)
    if order == "random":
        now = hidden[torch.randperm(len(hidden), generator=chain.generator)[:share]]
    else:
        entropies = [_entropy(scores) for scores in seen.scores(hidden)]
        now = hidden[torch.argsort(torch.cat(entropies), stable=True)[:share]]
    return now, [chain.draw(row) for scores in seen.scores(now) for row in scores]


def _entropy(scores: Tensor) -> Tensor:
    """In nats, (places,), of scores (places, V). 83 places, GPT-2's vocabulary: 6 ms, by torch.special.entr 13."""
    logs = torch.log_softmax(scores, -1)
    return -(logs.exp() * logs).sum(-1)


def _surest(seen: _Seen, hidden: Tensor, share: int, chain: Chain) -> tuple[Tensor, list[int]]:
    """A token is drawn at each hidden place; the likeliest of them stay, the likeliest first.

    MaskGIT, arXiv 2202.04200, and LLaDA. How likely a token is, is what the model says before any sampler, as LLaDA
    has it: with a temperature of 0, or when one token is left in the draw, all would be alike. What a penalty makes
    dearer because this look has just uncovered it elsewhere is drawn anew.
    """
    drawn: list[int] = []
    likely = []
    for scores in seen.scores(hidden):
        some = [chain.choose(row) for row in scores]
        likely.append(torch.log_softmax(scores, -1).gather(-1, torch.tensor(some)[:, None])[:, 0])
        drawn += some
    order = torch.argsort(torch.cat(likely), descending=True, stable=True)[:share]
    kept: list[int] = []
    for at in order.tolist():
        token = drawn[at]
        if chain.penalises and token in kept:
            token = chain.choose(next(seen.scores(hidden[at : at + 1]))[0])
        chain.remember(token)
        kept.append(token)
    return hidden[order], kept
