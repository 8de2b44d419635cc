"""Generation with a masked diffusion model: all positions start masked and are unmasked in denoising steps."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from core.errors import UsageError
from core.model.gpt import GPT
from core.model.inference import inference
from core.recipe.sampling import DENOISING_STEPS, UnmaskingOrder
from core.sample.logits_processors import TokenSampler
from core.sample.samplers import check_finite

_LOGITS_AT_ONCE = 2**22
"""Logits computed at a time, 16 MiB: with GPT-2's vocabulary those of 83 positions."""


class ContextLengthError(UsageError):
    """The tokens to infill leave no room for prompt and suffix."""

    doing = "generate text"


class UnmaskingOptions(NamedTuple):
    """Options of generation with a masked model."""

    suffix: Sequence[int] = ()
    """Token ids after the generated part."""
    order: UnmaskingOrder = "random"
    denoising_steps: int = DENOISING_STEPS
    """Per block; at most one for each of its positions."""


class DenoisedBlock(NamedTuple):
    """A block of text after a denoising step."""

    ids: tuple[int | None, ...]
    """None: still masked. The next block begins once all are unmasked."""
    unmasked: tuple[int, ...]
    """Positions in the block that this step unmasked, in this order."""
    probabilities: tuple[float, ...] = ()
    """Of the tokens at `unmasked`, before logits processors."""


def prompt_capacity(model: GPT, tokens: int) -> int:
    """Tokens of a prompt that fit the context when `tokens` are to be generated: at most half a context is reserved
    for generation."""
    return model.config.block_size - min(tokens, -(-model.config.block_size // 2))


def infill_context(
    model: GPT, prompt: Sequence[int], suffix: Sequence[int], tokens: int
) -> tuple[Sequence[int], Sequence[int]]:
    """The end of a prompt and the start of a suffix that fit one context with `tokens` between them.

    Each gets half of the remaining positions, plus what the other does not need. Raises ContextLengthError.
    """
    remaining = model.config.block_size - tokens
    if remaining < 2:
        raise ContextLengthError(
            f"{tokens:,} tokens and the text before and after them do not fit a context of {model.config.block_size:,}",
            todo=f"ask for at most {model.config.block_size - 2:,} tokens"
            if model.config.block_size > 2
            else "ask without a suffix",
        )
    suffix = suffix[: max(remaining // 2, remaining - len(prompt))]
    return prompt[max(0, len(prompt) - (remaining - len(suffix))) :], suffix


def denoise(
    model: GPT, prompt: Sequence[int], sampler: TokenSampler, *, tokens: int, options: UnmaskingOptions
) -> Generator[DenoisedBlock, None, None]:
    """Generate `tokens` ids after `prompt`. Yields the current block after each denoising step.

    What does not fit a context is generated block by block, each with the end of the previous one as its prompt
    (semi-autoregressive: LLaDA, arXiv 2502.09992). With a suffix, all has to fit: see `infill_context`. Raises
    LogitsError if logits are not finite.
    """
    ids, end = list(prompt), len(prompt) + tokens
    while len(ids) < end:
        remaining = end - len(ids)
        context = ids if options.suffix else ids[max(0, len(ids) - prompt_capacity(model, remaining)) :]
        length = remaining if options.suffix else min(remaining, model.config.block_size - len(context))
        ids = ids + (yield from _denoise_block(model, context, length, sampler, options))


def _denoise_block(
    model: GPT, context: list[int], length: int, sampler: TokenSampler, options: UnmaskingOptions
) -> Generator[DenoisedBlock, None, list[int]]:
    start, end = len(context), len(context) + length
    ids = torch.tensor([*context, *[model.vocab_size] * length, *options.suffix])
    masked = torch.arange(start, end)
    for steps_left in range(min(options.denoising_steps, length), 0, -1):
        count = -(-len(masked) // steps_left)
        unmasked, tokens, probabilities = _denoising_step(
            _MaskedText(model, ids), masked, count, sampler, options.order
        )
        ids[unmasked] = torch.tensor(tokens)
        masked = masked[~torch.isin(masked, unmasked)]
        still_masked = set(masked.tolist())
        yield DenoisedBlock(
            tuple(None if position in still_masked else int(ids[position]) for position in range(start, end)),
            tuple((unmasked - start).tolist()),
            tuple(probabilities),
        )
    block: list[int] = ids[start:end].tolist()
    return block


class _MaskedText:
    """Hidden states of a text with masked positions."""

    def __init__(self, model: GPT, ids: Tensor) -> None:
        """ids: (T,)"""
        self._model = model
        with inference(model):
            self._hidden_states = model.hidden_states(ids[None].to(model.device))[0]

    def logits(self, positions: Tensor) -> Iterator[Tensor]:
        """Logits (n, vocabulary) of the next n of `positions`, on the CPU, until all are done."""
        for some in torch.split(positions, max(1, _LOGITS_AT_ONCE // self._model.vocab_size)):
            with inference(self._model):
                logits = check_finite(self._model.logits(self._hidden_states[some.to(self._model.device)]).cpu())
            yield logits


def _denoising_step(
    text: _MaskedText, masked: Tensor, count: int, sampler: TokenSampler, order: UnmaskingOrder
) -> tuple[Tensor, list[int], list[float]]:
    """The `count` positions of `masked` to unmask, in this order, a token for each, which `sampler` records, and its
    probability before logits processors.

    random: the process whose likelihood the training loss bounds. entropy: where the entropy of the model's own
    distribution is lowest. Penalties count tokens at earlier positions, including those of the same step.
    """
    if order == "confidence":
        return _unmask_most_confident(text, masked, count, sampler)
    if order == "random":
        positions = masked[torch.randperm(len(masked), generator=sampler.generator)[:count]]
    else:
        entropies = [_entropy(logits) for logits in text.logits(masked)]
        positions = masked[torch.argsort(torch.cat(entropies), stable=True)[:count]]
    tokens, probabilities = [], []
    for logits in text.logits(positions):
        sampled = [sampler.sample(row) for row in logits]
        tokens += sampled
        probabilities += _log_probabilities(logits, sampled).exp().tolist()
    return positions, tokens, probabilities


def _log_probabilities(logits: Tensor, tokens: list[int]) -> Tensor:
    """(n,) of one of `tokens` each, from logits (n, V)."""
    return torch.log_softmax(logits, -1).gather(-1, torch.tensor(tokens)[:, None])[:, 0]


def _entropy(logits: Tensor) -> Tensor:
    """Entropy in nats, (n,), of logits (n, V). 83 positions, GPT-2's vocabulary: 6 ms; torch.special.entr takes 13."""
    log_probabilities = torch.log_softmax(logits, -1)
    return -(log_probabilities.exp() * log_probabilities).sum(-1)


def _unmask_most_confident(
    text: _MaskedText, masked: Tensor, count: int, sampler: TokenSampler
) -> tuple[Tensor, list[int], list[float]]:
    """Sample a token at each masked position and keep the most probable ones, in order of probability.

    MaskGIT, arXiv 2202.04200, and LLaDA. As in LLaDA, the probability is the model's own, before logits processors:
    after them, all tokens would have probability 1 with temperature 0 or if one token is left. A token that a penalty
    makes less likely, because this step already has it elsewhere, is sampled again.
    """
    sampled: list[int] = []
    confidences = []
    for logits in text.logits(masked):
        tokens = [sampler.propose(row) for row in logits]
        confidences.append(_log_probabilities(logits, tokens))
        sampled += tokens
    log_probabilities = torch.cat(confidences)
    order = torch.argsort(log_probabilities, descending=True, stable=True)[:count]
    accepted: list[int] = []
    probabilities: list[float] = []
    for index in order.tolist():
        token, log_probability = sampled[index], log_probabilities[index]
        if sampler.has_penalties and token in accepted:
            logits = next(text.logits(masked[index : index + 1]))
            token = sampler.propose(logits[0])
            log_probability = _log_probabilities(logits, [token])[0]
        sampler.record(token)
        accepted.append(token)
        probabilities.append(float(log_probability.exp()))
    return masked[order], accepted, probabilities
