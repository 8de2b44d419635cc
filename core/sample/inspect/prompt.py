"""Generation of a continuation with every intermediate result."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from core.errors import UsageError
from core.model.gpt import GPT
from core.recipe.sampling import Sampling
from core.recipe.schema import Model
from core.sample.inspect import activations, generation_steps
from core.sample.inspect.figures import finite_floats, finite_or_none, rank, token_info, top_tokens
from core.sample.inspect.next_token import CausalNextToken, MaskedNextToken, next_token_context
from core.sample.inspect.token_losses import prompt_surprisal
from core.sample.inspect_protocol import (
    MAX_TEXT_CHARACTERS,
    AnyInspectResult,
    AppendedToken,
    AttentionHead,
    AttentionWeights,
    InspectOptions,
    LensRow,
    LogitLens,
)
from core.sample.logits_processors import TokenSampler
from core.sample.stream import TextBuilder
from core.tokenize.vocabulary import Vocabulary

ATTENTION_DIGITS = 6
"""Decimal places of attention weights."""


class InspectRequestError(UsageError):
    """The model lacks the requested layer or head."""

    doing = "inspect the model"


def inspect_prompt(
    model: GPT,
    vocabulary: Vocabulary,
    prompt: Sequence[int],
    sampling: Sampling,
    options: InspectOptions,
    *,
    forced: Sequence[int] = (),
    dropped: int = 0,
) -> Iterator[AnyInspectResult | None]:
    """The steps of continuing `prompt`, at least one id, by up to `sampling.tokens` tokens; None after other work.

    forced: ids of the first tokens, taken instead of the sampled ones. dropped: tokens before `prompt` that were left
    out already.

    A causal model generates the tokens that `generate` does with the same seed. A masked model unmasks one position at
    a time, from left to right. Neither the model nor torch's global random state changes. Raises InspectRequestError,
    SamplingSettingError, and, after the LogitsMatrix, LogitsError if logits to sample from are not finite.
    """
    _check_heads(options.attention, model.config)
    _check_tokens(forced, model.vocab_size)
    ids = next_token_context(model, prompt)
    text = ids if model.mask_token_id is None else ids[:-1]
    sampler = TokenSampler(sampling, model.vocab_size, prompt=text)
    yield generation_steps.prompt_tokens(model, vocabulary, ids, dropped + len(prompt) - len(text))
    yield generation_steps.logits_matrix(model, vocabulary, ids, options)
    if options.surprisal and text:
        yield from prompt_surprisal(model, vocabulary, text)
    next_token = (CausalNextToken if model.mask_token_id is None else MaskedNextToken)(model, text)
    builder = TextBuilder(vocabulary, sampling)
    for step in range(1, sampling.tokens + 1):
        given = forced[step - 1] if step <= len(forced) else None
        if step < options.first_token:
            sampled = sampler.propose(next_token.logits)
            token = sampled if given is None else given
            sampler.record(token)
            yield None
            if builder.add(token)[1] is not None:
                return
            next_token.append(token)
            continue
        yield generation_steps.last_logits(next_token.logits, len(next_token.ids), step, options)
        trace = generation_steps.SamplingTrace(next_token.logits, sampler, step, given)
        yield trace.probabilities(vocabulary, options)
        yield trace.sampled_token(vocabulary)
        yield from _inspect_layers(model, vocabulary, next_token.ids, trace.token, step, options)
        characters, reason = builder.add(trace.token)
        yield AppendedToken(
            step=step,
            token=token_info(vocabulary, trace.token),
            text=characters[:MAX_TEXT_CHARACTERS],
            length=dropped + len(prompt) + step,
            reason=reason,
        )
        if reason is not None:
            return
        next_token.append(trace.token)


def _check_heads(heads: Sequence[AttentionHead], shape: Model) -> None:
    for head in heads:
        if head.layer > shape.n_layer:
            raise InspectRequestError(
                f"there is no layer {head.layer}", todo=f"this model has the layers 1 to {shape.n_layer}"
            )
        if head.head is not None and head.head > shape.n_head:
            raise InspectRequestError(
                f"there is no head {head.head}", todo=f"this model has the heads 1 to {shape.n_head}"
            )


def _check_tokens(ids: Sequence[int], vocabulary: int) -> None:
    unknown = [token for token in ids if not 0 <= token < vocabulary]
    if unknown:
        raise InspectRequestError(
            f"there is no token {unknown[0]}", todo=f"this vocabulary has the ids 0 to {vocabulary - 1:,}"
        )


def inspect_context(
    model: GPT, vocabulary: Vocabulary, ids: Sequence[int], options: InspectOptions, *, dropped: int = 0
) -> Iterator[AnyInspectResult | None]:
    """How the model reads `ids`, a context: its tokens and outputs, and the requested layers; None after other work.

    dropped: tokens before `ids`. Raises InspectRequestError.
    """
    _check_heads(options.attention, model.config)
    _check_tokens(ids, model.vocab_size + (model.mask_token_id is not None))
    yield generation_steps.prompt_tokens(model, vocabulary, ids, dropped)
    yield generation_steps.logits_matrix(model, vocabulary, ids, options)
    if not (options.logit_lens or options.attention):
        return
    heads = _heads_by_layer(options.attention, model.config)
    for layer in activations.layer_activations(model, ids):
        if options.logit_lens:
            logits = activations.logit_lens(model, layer, options.attention_positions)
            predictions = tuple(next(top_tokens(vocabulary, row, 1), None) for row in logits)
            yield LensRow(layer=layer.number, first=len(ids) - len(logits) + 1, predictions=predictions)
        if layer.number in heads:
            yield from _attention_weights(model, layer, sorted(heads[layer.number]), 1, options)
        yield None


def _heads_by_layer(heads: Sequence[AttentionHead], shape: Model) -> dict[int, set[int]]:
    by_layer: dict[int, set[int]] = {}
    for head in heads:
        all_heads = range(1, shape.n_head + 1)
        by_layer.setdefault(head.layer, set()).update(all_heads if head.head is None else (head.head,))
    return by_layer


def _inspect_layers(
    model: GPT, vocabulary: Vocabulary, ids: Sequence[int], sampled: int, step: int, options: InspectOptions
) -> Iterator[LogitLens | AttentionWeights | None]:
    """Logit lens of each layer and attention weights of the requested heads."""
    if not (options.logit_lens or options.attention):
        return
    heads_by_layer = _heads_by_layer(options.attention, model.config)
    deepest = model.config.n_layer if options.logit_lens else max(heads_by_layer)
    for layer in activations.layer_activations(model, ids):
        if options.logit_lens:
            logits = activations.logit_lens(model, layer)[0]
            yield LogitLens(
                step=step,
                layer=layer.number,
                tokens=tuple(top_tokens(vocabulary, logits, options.lens_tokens)),
                probability=finite_or_none(logits.softmax(-1)[sampled]),
                rank=rank(logits, sampled),
            )
        if heads := heads_by_layer.get(layer.number):
            yield from _attention_weights(model, layer, sorted(heads), step, options)
        yield None
        if layer.number == deepest:
            return


def _attention_weights(
    model: GPT, layer: activations.LayerActivations, heads: Sequence[int], step: int, options: InspectOptions
) -> Iterator[AttentionWeights]:
    all_weights = activations.attention_weights(model, layer, options.attention_positions if step == 1 else 1)
    first = max(0, all_weights.shape[2] - options.attention_positions)
    for head in heads:
        weights = all_weights[head - 1]
        yield AttentionWeights(
            step=step,
            layer=layer.number,
            head=head,
            first=first + 1,
            weights=tuple(finite_floats(row, ATTENTION_DIGITS) for row in weights[:, first:]),
            before=finite_floats(weights[:, :first].sum(-1), ATTENTION_DIGITS),
        )
