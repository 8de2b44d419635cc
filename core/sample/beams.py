"""Beam search: the continuations that the model finds likeliest, looked for several at a time."""

from __future__ import annotations

from collections.abc import Collection, Generator, Sequence
from typing import NamedTuple

import torch

from core.errors import UsageError
from core.model.gpt import GPT
from core.sample.kv_decoder import Reader


class NotCausalError(UsageError):
    doing = "draw text"


class Beam(NamedTuple):
    """One continuation."""

    tokens: tuple[int, ...]
    """The one that ended it included."""
    nats: float
    """Logarithm of its probability, given the prompt: the sum over its tokens."""
    ended: bool
    """By one of the ends, not by its length."""

    def rank(self, length_penalty: float) -> float:
        """`nats` divided by the length to the power of `length_penalty`: 1 is the mean of a token, 0 the sum, which
        short texts win."""
        return self.nats / float(len(self.tokens) ** length_penalty)


def ensure_causal(model: GPT) -> None:
    """Raises NotCausalError."""
    if model.mask_token_id is not None:
        raise NotCausalError(
            "a masked model gives no likelihoods from left to right, which texts are ranked by",
            todo="let it write without beams and without the best of several",
        )


def beams(
    model: GPT, prompt: Sequence[int], *, width: int, tokens: int, ends: Collection[int], length_penalty: float = 1.0
) -> Generator[None, None, list[Beam]]:
    """Look for the `width` continuations of at most `tokens` tokens that rank highest; best first.

    At each token the `width` likeliest of all ways to go on are kept; one that reaches an end is set aside, and
    another takes its place. It is over when `width` are set aside and the likeliest of the others, at its length so
    far, ranks no higher than the last of them; or when all tokens are there. So does `transformers`. Of a vocabulary
    with fewer ways to go on there are fewer. Yields after each look of the model. Raises NotCausalError, and
    LogitsError when the model's output is not finite.
    """
    ensure_causal(model)
    reader = yield from Reader.in_pieces(model, prompt)
    alive, done = [Beam((), 0.0, False)], list[Beam]()
    for number in range(1, tokens + 1):
        yield
        costs = torch.log_softmax(reader.scores, -1) + torch.tensor([[beam.nats] for beam in alive])
        # as many as there are ends more, so that enough go on
        found = torch.topk(costs.flatten(), min(costs.numel(), width * (1 + len(ends))))
        places, nats = found.indices.tolist(), found.values.tolist()
        ways = [(place // costs.shape[1], place % costs.shape[1]) for place in places]
        last = number == tokens

        def made(way: int) -> Beam:
            row, token = ways[way]  # noqa: B023 it is called at once
            return Beam((*alive[row].tokens, token), nats[way], token in ends)  # noqa: B023

        ended = [way for way, (_, token) in enumerate(ways[:width]) if last or token in ends]
        done = sorted([*done, *map(made, ended)], key=lambda beam: -beam.rank(length_penalty))[:width]
        going = [way for way, (_, token) in enumerate(ways) if token not in ends][:width]
        alive = [made(way) for way in going]
        enough = len(done) == width and alive and alive[0].rank(length_penalty) <= done[-1].rank(length_penalty)
        if last or not alive or enough:
            break
        reader.choose([ways[way][0] for way in going])
        yield from reader.reading([beam.tokens[-1] for beam in alive])
    return done
