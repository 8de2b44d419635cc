"""Beam search for the most likely continuations."""

from __future__ import annotations

from collections.abc import Collection, Generator, Sequence
from typing import NamedTuple

import torch

from core.errors import UsageError
from core.model.gpt import GPT
from core.sample.kv_decoder import KVDecoder


class NotCausalError(UsageError):
    """A masked model was asked for likelihoods from left to right."""

    doing = "generate text"


class Beam(NamedTuple):
    """One continuation."""

    tokens: tuple[int, ...]
    """Including the stop token that ended it."""
    log_probability: float
    """Given the prompt, in nats: the sum over its tokens."""
    stopped: bool
    """Whether it ended with a stop token, not by its length."""

    def normalised(self, length_penalty: float) -> float:
        """`log_probability` / length ** `length_penalty`: 1 gives the mean per token, 0 the sum, which favours short
        texts."""
        return self.log_probability / float(len(self.tokens) ** length_penalty)


def ensure_causal(model: GPT) -> None:
    """Raises NotCausalError."""
    if model.mask_token_id is not None:
        raise NotCausalError(
            "a masked model gives no likelihoods from left to right, which texts are ranked by",
            todo="let it write without beams and without the best of several",
        )


def beam_search(
    model: GPT,
    prompt: Sequence[int],
    *,
    num_beams: int,
    tokens: int,
    stop_tokens: Collection[int],
    length_penalty: float = 1.0,
) -> Generator[None, None, list[Beam]]:
    """The `num_beams` continuations of at most `tokens` tokens with the highest normalised log-probability, best first.

    Each step keeps the `num_beams` most likely extensions; one that ends with a stop token is set aside and replaced by
    the next one. The search ends when `num_beams` are set aside and the most likely of the others, at its length so
    far, scores no higher than the last of them, or after `tokens` tokens: as `transformers` with
    early_stopping=False. Fewer beams are returned if the vocabulary has fewer continuations.

    Yields after each forward pass. Raises NotCausalError, and LogitsError if logits are not finite.
    """
    ensure_causal(model)
    decoder = yield from KVDecoder.prefill(model, prompt)
    active, finished = [Beam((), 0.0, False)], list[Beam]()
    for number in range(1, tokens + 1):
        yield
        sums = torch.log_softmax(decoder.logits, -1) + torch.tensor([[beam.log_probability] for beam in active])
        # one more per stop token, so that enough remain active
        best = torch.topk(sums.flatten(), min(sums.numel(), num_beams * (1 + len(stop_tokens))))
        log_probabilities = best.values.tolist()
        extensions = [(index // sums.shape[1], index % sums.shape[1]) for index in best.indices.tolist()]
        last = number == tokens

        def extend(extension: int) -> Beam:
            row, token = extensions[extension]  # noqa: B023 called in the same iteration
            beam_tokens = (*active[row].tokens, token)  # noqa: B023
            return Beam(beam_tokens, log_probabilities[extension], token in stop_tokens)  # noqa: B023

        ending = [index for index, (_, token) in enumerate(extensions[:num_beams]) if last or token in stop_tokens]
        finished += map(extend, ending)
        finished = sorted(finished, key=lambda beam: -beam.normalised(length_penalty))[:num_beams]
        continuing = [index for index, (_, token) in enumerate(extensions) if token not in stop_tokens][:num_beams]
        active = [extend(index) for index in continuing]
        if last or not active:
            break
        if len(finished) == num_beams and active[0].normalised(length_penalty) <= finished[-1].normalised(
            length_penalty
        ):
            break
        decoder.select([extensions[index][0] for index in continuing])
        yield from decoder.append_steps([beam.tokens[-1] for beam in active])
    return finished
