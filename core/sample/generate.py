"""Token generation from a prompt: causal models token by token, masked ones as in `core.sample.diffusion`."""

from __future__ import annotations

import math
import sys
from collections.abc import Generator, Sequence

import torch

from core.errors import UsageError
from core.model.gpt import GPT
from core.recipe.sampling import Sampling
from core.sample.diffusion import DenoisedBlock, UnmaskingOptions, denoise, infill_context, prompt_capacity
from core.sample.kv_decoder import KVDecoder
from core.sample.logits_processors import TokenSampler

GeneratedIds = Generator[tuple[int, int | DenoisedBlock] | None, bool | None, None]
"""Yields (text index, token id), or None while a long prompt is being read. Masked models: also (text index,
DenoisedBlock) after each denoising step, followed by the block's tokens once it is complete. Sending True ends the text
of the last token."""


class MaskedOnlyError(UsageError):
    """A causal model was asked for something that only masked models can do."""

    doing = "generate text"


def generate(
    model: GPT,
    prompt: Sequence[int],
    sampling: Sampling,
    *,
    texts: int = 1,
    unmasking: UnmaskingOptions | None = None,
    logprobs: dict[int, float] | None = None,
) -> GeneratedIds:
    """Generate up to `sampling.tokens` token ids for each of `texts` continuations of `prompt`, at least one id.

    unmasking: options of masked models. The prompt is truncated as in `truncate_to_context`, which also raises.
    logprobs: gets, by text, the log-probability (nats) of the token that is yielded next, under the model before
    logits processors; of a masked model at the denoising step that unmasked it.

    Text i is what seed + i alone would give, whatever else is generated in the same batch. Dropout is off, and torch's
    global random state is not touched. Raises SamplingSettingError, and LogitsError if logits are not finite.
    """
    prompt, suffix = truncate_to_context(model, prompt, sampling.tokens, unmasking)
    samplers = [
        TokenSampler(sampling, model.vocab_size, prompt=(*prompt, *suffix), seed_offset=text) for text in range(texts)
    ]
    if model.mask_token_id is None:
        return _generate_causal(model, prompt, samplers, sampling.tokens, logprobs)
    options = (unmasking or UnmaskingOptions())._replace(suffix=suffix)
    return _generate_masked(model, prompt, samplers, sampling.tokens, options, logprobs)


def prompt_limit(model: GPT, tokens: int) -> int:
    """Tokens of a prompt that fit the context when `tokens` are to be generated after it."""
    return model.config.block_size if model.mask_token_id is None else prompt_capacity(model, tokens)


def truncate_to_context(
    model: GPT, prompt: Sequence[int], tokens: int, unmasking: UnmaskingOptions | None = None
) -> tuple[Sequence[int], Sequence[int]]:
    """The end of `prompt` and the start of the suffix that fit the context with `tokens` to be generated.

    Raises MaskedOnlyError, and ContextLengthError if `tokens` leave no room for prompt and suffix.
    """
    if model.mask_token_id is None and unmasking is not None:
        raise MaskedOnlyError(
            "this model is causal, and only a masked model can fill a middle or unmask its text in another order",
            todo="leave out suffix, order and denoising steps, or train with model.objective = masked",
        )
    if unmasking is not None and unmasking.suffix:
        return infill_context(model, prompt, unmasking.suffix, tokens)
    return prompt[max(0, len(prompt) - prompt_limit(model, tokens)) :], ()


def _generate_causal(
    model: GPT,
    prompt: Sequence[int],
    samplers: list[TokenSampler],
    tokens: int,
    logprobs: dict[int, float] | None,
) -> GeneratedIds:
    """The prompt is read once; then each forward pass gives a token of every text that has not ended."""
    active = list(range(len(samplers)))
    decoder = yield from KVDecoder.prefill(model, prompt)
    decoder.select([0] * len(active))
    for number in range(tokens):
        sampled, rows = [], []
        for row, text in enumerate(active):
            logits = decoder.logits[row]
            token = samplers[text].sample(logits)
            if logprobs is not None:
                logprobs[text] = float(logits[token] - torch.logsumexp(logits, -1))
            if not (yield text, token):
                sampled.append(token)
                rows.append(row)
        if not rows or number == tokens - 1:
            return
        active = [active[row] for row in rows]
        decoder.select(rows)
        yield from decoder.append_steps(sampled)


def _generate_masked(
    model: GPT,
    prompt: Sequence[int],
    samplers: list[TokenSampler],
    tokens: int,
    options: UnmaskingOptions,
    logprobs: dict[int, float] | None,
) -> GeneratedIds:
    """One text after the other."""
    probabilities: dict[int, float] = {}
    """By position in the block."""
    for text, sampler in enumerate(samplers):
        ended: bool | None = None
        for block in denoise(model, prompt, sampler, tokens=tokens, options=options):
            yield text, block
            probabilities |= dict(zip(block.unmasked, block.probabilities, strict=True))
            ids = [token for token in block.ids if token is not None]
            if len(ids) < len(block.ids):
                continue
            for position, token in enumerate(ids):
                if logprobs is not None:
                    logprobs[text] = math.log(max(probabilities[position], sys.float_info.min))
                if ended := (yield text, token):
                    break
            if ended:
                break
